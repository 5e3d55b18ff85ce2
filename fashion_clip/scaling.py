"""Scores fitted to truth by maximum likelihood, with as few parameters as the truth supports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FOLDS = 5
TEMPERATURES = (0.02, 50.0)
LEAST_DOUBT = 1e-6  # probabilities are taken for no surer than this
STEPS = 60  # of the optimiser: twice as many change no confidence by 0.001
# On half the sum of squared biases, against the summed log likelihood: a prior of standard deviation
# 1 / sqrt(penalty) around no bias.
PENALTIES = (1.0, 0.1)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scaling:
    """Logits are divided by the temperature; then bias (labels,) is added, where it is not empty."""

    temperature: float
    bias: Floats

    def of(self, logits: Floats) -> Floats:
        """Scaled logits (n, labels)."""
        return logits / self.temperature + (self.bias if len(self.bias) else 0.0)


UNSCALED = Scaling(1.0, np.empty(0))

Fit = Callable[[Floats, Ints, Floats], Scaling]


def choose_fit(logits: Floats, truth: Ints, weights: Floats) -> Fit:
    """The way to fit with the best cross-validated likelihood; a richer one only where it is clearly better.

    Clearly: by more than a standard error of the difference, photo by photo (Breiman and others,
    Classification and Regression Trees, 1984, section 3.4.3). Compared are no scaling, a temperature, and a
    temperature with biases shrunk towards none.

    Args:
        logits: (n, labels), with n >= FOLDS. truth: (n,), true labels. weights: (n,), positive.
    """
    fits: list[Fit] = [lambda *_: UNSCALED, _temperature]
    fits += [_with_bias(penalty) for penalty in PENALTIES]
    best, best_losses = fits[0], _held_out_losses(fits[0], logits, truth, weights)
    for fit in fits[1:]:
        losses = _held_out_losses(fit, logits, truth, weights)
        gains = weights * (best_losses - losses)
        if gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)):
            best, best_losses = fit, losses
    return best


def _held_out_losses(fit: Fit, logits: Floats, truth: Ints, weights: Floats) -> Floats:
    """Each photo's negative log likelihood under what was fitted on the other folds."""
    fold = np.arange(len(truth)) % FOLDS
    losses = np.empty(len(truth))
    for number in range(FOLDS):
        held = fold == number
        scaling = fit(logits[~held], truth[~held], weights[~held])
        losses[held] = _losses(scaling.of(logits[held]), truth[held])
    return losses


def _losses(logits: Floats, truth: Ints) -> Floats:
    from scipy.special import logsumexp

    losses: Floats = logsumexp(logits, axis=1) - logits[np.arange(len(truth)), truth]
    return losses


def _temperature(logits: Floats, truth: Ints, weights: Floats) -> Scaling:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_t: float(weights @ _losses(logits / np.exp(log_t), truth)),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
    )
    return Scaling(float(np.exp(found.x)), np.empty(0))


def _with_bias(penalty: float) -> Fit:
    def fit(logits: Floats, truth: Ints, weights: Floats) -> Scaling:
        from scipy.optimize import minimize

        start = np.zeros(logits.shape[1] + 1)
        start[0] = -np.log(_temperature(logits, truth, weights).temperature)
        # A penalty is against so many photos, however many others each of them stands for.
        shares = weights / weights.mean()
        found = minimize(
            _penalised, start, (logits, truth, shares, penalty), method="L-BFGS-B", jac=True,
            bounds=[tuple(-np.log(TEMPERATURES)[::-1]), *[(None, None)] * logits.shape[1]],
            options={"maxiter": STEPS},
        )  # fmt: skip
        return Scaling(float(np.exp(-found.x[0])), found.x[1:])

    return fit


def _penalised(
    parameters: Floats, logits: Floats, truth: Ints, weights: Floats, penalty: float
) -> tuple[float, Floats]:
    """The penalised loss and its gradient, of the log slope and the biases."""
    slope, bias = np.exp(parameters[0]), parameters[1:]
    scaled = logits * slope + bias
    scaled -= scaled.max(axis=1, keepdims=True)
    rows = np.arange(len(truth))
    losses = -scaled[rows, truth]
    residuals = np.exp(scaled)
    sums = residuals.sum(axis=1)
    losses += np.log(sums)
    residuals /= sums[:, None]
    residuals[rows, truth] -= 1
    residuals *= weights[:, None]
    gradient = np.concatenate([[slope * np.sum(residuals * logits)], residuals.sum(axis=0) + penalty * bias])
    return float(weights @ losses + penalty / 2 * bias @ bias), gradient


def corrected(
    probability: npt.NDArray[np.float32], slope: float, intercept: float
) -> npt.NDArray[np.float32]:
    """sigmoid(slope * logit(probability) + intercept), in the shape of `probability`."""
    from scipy.special import expit

    scores = slope * _log_odds(probability.astype(np.float64)) + intercept
    confidence: npt.NDArray[np.float32] = expit(scores).astype(np.float32)
    return confidence


UNCORRECTED = (1.0, 0.0)


def choose_correction(folds: Sequence[tuple[Floats, Bools, Floats]]) -> tuple[float, float]:
    """The slope and intercept of `corrected`; 1 and 0 where fitted ones are no better, cross-validated.

    Each fold is a probability (n,) of the chosen label, from scores that these photos had no part in; hits
    (n,), whether it is the true one; and weights (n,).
    """
    gains = []
    for number, held in enumerate(folds):
        others = [fold for other, fold in enumerate(folds) if other != number]
        fitted = _fit_correction(*(np.concatenate(parts) for parts in zip(*others, strict=True)))
        gains.append(held[2] * (_binary_losses(UNCORRECTED, *held[:2]) - _binary_losses(fitted, *held[:2])))
    if not np.concatenate(gains).sum() > 0:
        return UNCORRECTED
    return _fit_correction(*(np.concatenate(parts) for parts in zip(*folds, strict=True)))


def _binary_losses(correction: tuple[float, float], probability: Floats, hits: Bools) -> Floats:
    scores = correction[0] * _log_odds(probability) + correction[1]
    losses: Floats = np.logaddexp(0, scores) - hits * scores
    return losses


def _log_odds(probability: Floats) -> Floats:
    from scipy.special import logit

    odds: Floats = logit(np.clip(probability, LEAST_DOUBT, 1 - LEAST_DOUBT))
    return odds


def _fit_correction(probability: Floats, hits: Bools, weights: Floats) -> tuple[float, float]:
    """By logistic regression with a weak pull towards UNCORRECTED."""
    from scipy.optimize import minimize
    from scipy.special import expit

    sure, shares = _log_odds(probability), weights / weights.mean()

    def loss(parameters: Floats) -> tuple[float, Floats]:
        pull = parameters - np.array(UNCORRECTED)
        residuals = shares * (expit(parameters[0] * sure + parameters[1]) - hits)
        value = shares @ _binary_losses((parameters[0], parameters[1]), probability, hits) + pull @ pull / 2
        return float(value), np.array([residuals @ sure, residuals.sum()]) + pull

    found = minimize(loss, np.array(UNCORRECTED), method="L-BFGS-B", jac=True, bounds=[(0.05, 20), (-20, 20)])
    return float(found.x[0]), float(found.x[1])
