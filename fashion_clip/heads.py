"""Linear heads learned from truth on stored embeddings, held to the labels' prompts.

    logit(label) = scale * cosine(embedding, row) + bias

A label that has examples has a row of its own: multinomial logistic regression whose rows are drawn not to 0
but to the prompt's row, times a share of its scale. That share and the strength are chosen for each attribute
by cross-validation: with few examples, or good prompts, the head stays near zero-shot, and with many it is
the plain regression. Starting from the text embeddings keeps a probe of few examples from falling below
zero-shot (Huang and others, LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP, CVPR 2024).

Labels without an example keep their prompts. One bias, common to all of them, gives them together the share
of products that a label not seen so far is to be expected in: the number of labels seen once among all
products (Good, The population frequencies of species, Biometrika 40, 1953).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fashion_clip.calibrating import Truths
from fashion_clip.calibration import share_of
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.scoring import Head, log_softmax

PROMPT_SHARES = (1.0, 0.3, 0.1, 0.0)  # of the prompts' scale, at which rows are held; of equals the first
PENALTIES = (100.0, 10.0, 1.0, 0.1, 0.01)  # the inverse variance of a row's entries about there
FOLDS = 3
TRIED_ON = 2_000  # photos at most that shares and penalties are compared on
TEMPERATURES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
LEAST_SHARE = 0.05  # at which labels without example keep their prompts, so that their order is zero-shot's

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LearnedHead:
    """What was learned of one attribute; `with_learned` makes a head of any label list.

    labels: those that had examples. weights: float32 (labels, dimension), rows of length 1. scales, biases:
    float32 (labels,). prompt_scale, prompt_bias: those of labels that had none. prompt_share, penalty: what
    cross-validation chose.
    """

    attribute: str
    labels: tuple[str, ...]
    weights: Floats
    scales: Floats
    biases: Floats
    prompt_scale: float
    prompt_bias: float
    prompt_share: float
    penalty: float


def with_learned(prompts: Head, learned: LearnedHead) -> Head:
    """The head of the labels in `prompts`: rows that were learned, and prompts for the other labels."""
    place = {label: number for number, label in enumerate(learned.labels)}
    own = np.array([label in place for label in prompts.labels])
    rows = np.array([place[label] for label in prompts.labels if label in place], dtype=np.intp)
    weights = prompts.weights.copy()
    scales = np.full(len(own), learned.prompt_scale, dtype=np.float32)
    biases = np.full(len(own), learned.prompt_bias, dtype=np.float32)
    weights[own], scales[own], biases[own] = learned.weights[rows], learned.scales[rows], learned.biases[rows]
    return Head(prompts.attribute, prompts.labels, weights, scales, biases)


def fit_head(prompts: Head, truths: Truths) -> LearnedHead:
    """Learns one attribute's head; with the same truth the same one, in whatever order it comes.

    Truth that no label fits is left out. Sampling weights are not looked at: all truth teaches, however it
    was chosen.

    Args:
        prompts: the zero-shot head of the attribute.
        truths: of n >= 1 photos with a label.
    """
    from threadpoolctl import threadpool_limits

    examples = _examples(prompts, truths)
    with threadpool_limits(1):  # those of numpy and of scipy wait for each other: three times as slow
        share, penalty = _chosen(prompts, examples)
        return _fitted(prompts, examples, share, penalty)


def out_of_fold(prompts: Head, truths: Truths, learned: LearnedHead) -> Floats:
    """Probabilities, float32 (n, labels), that heads fitted alike without a photo's fold give its labels.

    n: the photos with a label. Where nothing is left without a fold, they are the prompts'.
    """
    examples = _examples(prompts, truths)
    found = _probabilities(prompts, examples.vectors)
    for training, held in _folds(examples):
        head = with_learned(prompts, _fitted(prompts, training, learned.prompt_share, learned.penalty))
        found[held] = _probabilities(head, examples.vectors[held])
    in_order = np.empty_like(found)
    in_order[examples.places] = found
    return in_order


@dataclass(frozen=True, eq=False)
class _Examples:
    vectors: Floats
    labels: Ints  # into the head's
    products: tuple[str, ...]
    places: npt.NDArray[np.intp]  # among the truths with a label

    def rows(self, rows: npt.NDArray[np.intp]) -> "_Examples":
        products = tuple(self.products[row] for row in rows)
        return _Examples(self.vectors[rows], self.labels[rows], products, self.places[rows])


def _examples(prompts: Head, truths: Truths) -> _Examples:
    """Sorted by product and content: sums in another order would be rounded to another head."""
    told = truths.rows(np.flatnonzero(truths.truth != NONE_OF_THEM))
    if not len(told.truth):
        raise ValueError(f"no example of attribute {prompts.attribute!r}")
    digests = [hashlib.sha256(vector.tobytes()).digest() for vector in told.vectors]
    keys = list(zip(told.products, digests, told.truth.tolist(), strict=True))
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)
    return _Examples(told.vectors, told.truth, told.products, np.arange(len(keys))).rows(order)


def _probabilities(head: Head, vectors: Floats) -> Floats:
    found: Floats = np.exp(log_softmax(head.logits(vectors @ head.weights.T)))
    return found


def _folds(examples: _Examples) -> Iterator[tuple[_Examples, npt.NDArray[np.intp]]]:
    """What to fit and which rows were left out, all photos of a product together; none where all are one."""
    fold = np.array([int(share_of("head fold", product) * FOLDS) for product in examples.products])
    for number in range(FOLDS):
        held, kept = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if len(held) and len(kept):
            yield examples.rows(kept), held


def _chosen(prompts: Head, examples: _Examples) -> tuple[float, float]:
    """The share and penalty of least held-out loss, one after the other, twice.

    Those nearest the prompts where nothing can be compared: one label tells nothing from anything.
    """
    tried = examples
    if len(examples.labels) > TRIED_ON:
        order = np.argsort([share_of("head trial", product) for product in examples.products], kind="stable")
        tried = examples.rows(np.sort(order[:TRIED_ON]))
    folds = list(_folds(tried))
    if not folds or len(np.unique(tried.labels)) < 2:
        return PROMPT_SHARES[0], PENALTIES[0]
    losses: dict[tuple[float, float], float] = {}

    def loss(share: float, penalty: float) -> float:
        if (share, penalty) not in losses:
            losses[share, penalty] = _loss(prompts, tried, folds, share, penalty)
        return losses[share, penalty]

    penalty = 1.0
    for _ in range(2):
        share = min(PROMPT_SHARES, key=lambda share: loss(share, penalty))
        penalty = min(PENALTIES, key=lambda penalty: loss(share, penalty))
    return share, penalty


def _loss(
    prompts: Head,
    examples: _Examples,
    folds: Sequence[tuple[_Examples, npt.NDArray[np.intp]]],
    share: float,
    penalty: float,
) -> float:
    """Of what was left out, at the best temperature: how sure a head is, is the calibration's to say."""
    logits = np.zeros((len(examples.labels), len(prompts.labels)), dtype=np.float32)
    for training, held in folds:
        head = with_learned(prompts, _fitted(prompts, training, share, penalty))
        logits[held] = head.logits(examples.vectors[held] @ head.weights.T)
    rows = np.arange(len(examples.labels))
    return min(
        -float(log_softmax(logits / np.float32(temperature))[rows, examples.labels].sum(dtype=np.float64))
        for temperature in TEMPERATURES
    )


def _fitted(prompts: Head, examples: _Examples, share: float, penalty: float) -> LearnedHead:
    seen, target = np.unique(examples.labels, return_inverse=True)
    prior = prompts.weights[seen] * (np.float32(share) * prompts.scales[seen, None])
    rows, biases = _regression(examples.vectors, target, prior, penalty)
    norms = np.maximum(np.linalg.norm(rows, axis=1), np.float32(1e-12))
    scale = float(prompts.scales[0]) * max(share, LEAST_SHARE)
    learned = LearnedHead(
        prompts.attribute,
        tuple(prompts.labels[number] for number in seen),
        (rows / norms[:, None]).astype(np.float32),
        norms.astype(np.float32),
        biases,
        prompt_scale=scale,
        prompt_bias=0.0,
        prompt_share=share,
        penalty=penalty,
    )
    return replace(learned, prompt_bias=_prompt_bias(prompts, examples, learned, seen))


def _prompt_bias(
    prompts: Head, examples: _Examples, learned: LearnedHead, seen: npt.NDArray[np.intp]
) -> float:
    """At which labels without an example hold together the share that Good and Turing expect of them.

    Where each label has one, as if a label were added like each of them, that is expected once in all. A
    label's products are counted, not their photos. The odds are those of the examples themselves, of which
    the head is surer than of others: labels without one get rather more than that share.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    products = sorted(set(zip(examples.labels.tolist(), examples.products, strict=True)))
    counts = np.unique([label for label, _ in products], return_counts=True)[1]
    unseen = np.setdiff1d(np.arange(len(prompts.labels)), seen)
    once = max(int((counts == 1).sum()), 1) if len(unseen) else len(seen)
    expected = min(once / (counts.sum() + 1), 0.9)
    added = unseen if len(unseen) else seen
    seen_logits = learned.scales * (examples.vectors @ learned.weights.T) + learned.biases
    added_logits = np.float32(learned.prompt_scale) * (examples.vectors @ prompts.weights[added].T)
    odds = _log_sum(added_logits) - _log_sum(seen_logits)
    low, high = -odds.max() - 20, -odds.min() + 20
    return float(brentq(lambda bias: expit(odds + bias).mean() - expected, low, high, xtol=1e-3))


def _log_sum(logits: Floats) -> npt.NDArray[np.float64]:
    highest = logits.max(axis=1)
    total: npt.NDArray[np.float64] = np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest
    return total.astype(np.float64)


def _regression(
    vectors: Floats, target: npt.NDArray[np.intp], prior: Floats, penalty: float
) -> tuple[Floats, Floats]:
    """Rows (labels, dimension) and biases that minimise loss + penalty / 2 * |rows - prior|^2, by L-BFGS.

    Vectors are centred on their mean, which embeddings of one model lie around: without it the biases and the
    rows fight for it and the search takes several times as long.
    """
    from scipy.optimize import minimize

    labels, dimension = prior.shape
    mean = vectors.mean(axis=0)
    rows_of = np.arange(len(target))

    def objective(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        values = flat.astype(np.float32).reshape(labels, dimension + 1)
        change, bias = values[:, :-1], values[:, -1]
        rows = prior + change
        logs = log_softmax(vectors @ rows.T + (bias - rows @ mean))
        loss = -logs[rows_of, target].sum(dtype=np.float64) + penalty / 2 * np.square(change).sum(
            dtype=np.float64
        )
        error = np.exp(logs)
        error[rows_of, target] -= 1
        of_bias = error.sum(axis=0)
        of_rows = error.T @ vectors - np.outer(of_bias, mean) + np.float32(penalty) * change
        return loss, np.hstack([of_rows, of_bias[:, None]]).astype(np.float64).ravel()

    found = minimize(
        objective, np.zeros(labels * (dimension + 1)), jac=True, method="L-BFGS-B",
        options={"maxiter": 60, "ftol": 1e-6, "gtol": 1e-3 * len(target) ** 0.5},
    )  # fmt: skip
    values = found.x.astype(np.float32).reshape(labels, dimension + 1)
    rows = prior + values[:, :-1]
    return rows, values[:, -1] - rows @ mean
