"""What is fitted is what the scores were bent by, and no more than the truth supports."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import approx_fprime

from fashion_clip.scaling import (
    UNCORRECTED,
    Scaling,
    _losses,
    _penalised,
    choose_correction,
    choose_fit,
    corrected,
)

LABELS = 6


Floats = npt.NDArray[np.float64]


def fit_scaling(logits: Floats, truth: npt.NDArray[np.int64], weights: Floats) -> Scaling:
    return choose_fit(logits, truth, weights)(logits, truth, weights)


def bent(
    n: int, temperature: float, bias: npt.NDArray[np.float64], seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Logits whose truth is drawn from softmax(logits / temperature + bias)."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 4, (n, LABELS))
    shares = np.exp(logits / temperature + bias)
    shares /= shares.sum(axis=1, keepdims=True)
    truth = (shares.cumsum(axis=1) > draw.random((n, 1))).argmax(axis=1)
    return logits, truth.astype(np.int64), np.ones(n)


@pytest.mark.parametrize("temperature", [0.4, 3.0])
def test_a_temperature_is_found_again(temperature: float) -> None:
    found = fit_scaling(*bent(3000, temperature, np.zeros(LABELS), seed=1))
    assert found.temperature == pytest.approx(temperature, rel=0.1)


def test_biases_are_found_again_where_there_is_truth_enough() -> None:
    bias = np.array([2.0, -2.0, 1.0, 0.0, -1.0, 0.0])
    found = fit_scaling(*bent(3000, 2.0, bias, seed=2))
    assert found.bias - found.bias.mean() == pytest.approx(bias - bias.mean(), abs=0.4)
    assert found.temperature == pytest.approx(2.0, rel=0.15)


def test_scores_that_mean_what_they_say_are_left_alone() -> None:
    unscaled = [fit_scaling(*bent(300, 1.0, np.zeros(LABELS), seed)) for seed in range(6)]
    assert sum(found.temperature == 1.0 and not len(found.bias) for found in unscaled) >= 4
    assert all(0.6 < found.temperature < 1.6 for found in unscaled)


def test_held_out_truth_is_no_less_probable_than_before() -> None:
    for seed in range(4):
        logits, truth, weights = bent(400, 2.5, np.linspace(-1, 1, LABELS), seed)
        found = fit_scaling(logits[:100], truth[:100], weights[:100])
        assert _losses(found.of(logits[100:]), truth[100:]).mean() < _losses(logits[100:], truth[100:]).mean()


def test_weights_count_as_so_many_photos() -> None:
    logits, truth, _ = bent(300, 2.0, np.zeros(LABELS), seed=5)
    weights = np.where(np.arange(300) < 100, 3.0, 1.0)
    many = np.concatenate([np.repeat(np.arange(100), 3), np.arange(100, 300)])
    weighed = fit_scaling(logits, truth, weights)
    repeated = fit_scaling(logits[many], truth[many], np.ones(len(many)))
    assert weighed.temperature == pytest.approx(repeated.temperature, rel=0.02)


def test_the_gradient_is_that_of_the_loss() -> None:
    logits, truth, weights = bent(40, 1.5, np.zeros(LABELS), seed=6)
    weights = weights * np.linspace(0.5, 1.5, 40)
    at = np.linspace(-0.5, 0.5, LABELS + 1)
    numeric = approx_fprime(at, lambda x: _penalised(x, logits, truth, weights, 3.0)[0], 1e-7)
    assert _penalised(at, logits, truth, weights, 3.0)[1] == pytest.approx(numeric, rel=1e-4, abs=1e-3)


def sure_by_half(n: int, seed: int) -> tuple[Floats, npt.NDArray[np.bool_], Floats]:
    """Probabilities whose log odds are twice as large as the truth has them."""
    draw = np.random.default_rng(seed)
    odds = draw.normal(1, 1, n)
    return 1 / (1 + np.exp(-2 * odds)), draw.random(n) < 1 / (1 + np.exp(-odds)), np.ones(n)


def test_a_correction_is_found_again() -> None:
    slope, intercept = choose_correction([sure_by_half(400, seed) for seed in range(5)])
    assert slope == pytest.approx(0.5, abs=0.08)
    assert intercept == pytest.approx(0, abs=0.15)


def test_what_helps_on_no_other_fold_is_left_out() -> None:
    draw = np.random.default_rng(1)
    right = draw.uniform(0.05, 0.95, (5, 12))
    found = [
        choose_correction([(shares, draw.random(12) < shares, np.ones(12)) for shares in right])
        for _ in range(20)
    ]
    assert sum(each == UNCORRECTED for each in found) >= 10


def test_correcting_keeps_the_order_and_the_shape() -> None:
    probability = np.linspace(0, 1, 12, dtype=np.float32).reshape(6, 2)
    confidence = corrected(probability, 0.7, -0.3)
    assert confidence.shape == (6, 2)
    assert (np.diff(confidence.ravel()) > 0).all()
    assert confidence.min() > 0
    assert confidence.max() < 1
    assert corrected(np.array([0.2], dtype=np.float32), 1.0, 0.0) == pytest.approx([0.2], abs=1e-6)


def test_a_penalty_is_against_photos_not_against_those_they_stand_for() -> None:
    logits, truth, weights = bent(200, 2.0, np.linspace(-1, 1, LABELS), seed=8)
    few, many = (fit_scaling(logits, truth, weights * times) for times in (1, 500))
    assert len(few.bias) == LABELS
    assert many.bias == pytest.approx(few.bias, abs=1e-3)
    assert many.temperature == pytest.approx(few.temperature, rel=1e-3)
