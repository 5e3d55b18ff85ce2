"""Predictions for tests: made up at random, or of a few rows written out."""

from collections.abc import Sequence

import numpy as np

from fashion_clip.predictions import NONE_OF_THEM, Predictions
from fashion_clip.scoring import TopLabels


def written_out(
    truth: Sequence[int],
    given: Sequence[int],
    confidence: Sequence[float],
    labels: Sequence[str] = ("a", "b", "c"),
    products: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
    attribute: str = "kind",
) -> Predictions:
    """One photo a row, with the given label first and the others after it in order."""
    n, size = len(truth), len(labels)
    index = np.array([[first, *(other for other in range(size) if other != first)] for first in given])
    sure = np.zeros((n, size), dtype=np.float32)
    sure[:, 0] = confidence
    top = TopLabels(index.reshape(n, size).astype(np.int32), sure.copy(), sure, np.zeros(n, dtype=np.int8))
    return Predictions(
        attribute,
        tuple(labels),
        np.asarray(truth, dtype=np.int64),
        top,
        tuple(f"photos/{number}.jpg" for number in range(n)),
        np.arange(n) if products is None else np.asarray(products, dtype=np.int64),
        np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64),
    )


def at_random(
    labels: Sequence[str], n: int, seed: int = 0, right: float = 0.7, attribute: str = "kind"
) -> Predictions:
    """Two photos a product, unequal weights, some truth outside; about `right` of the labels are."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(labels), n)
    given = np.where(rng.random(n) < right, truth, rng.integers(0, len(labels), n))
    truth[rng.random(n) < 0.03] = NONE_OF_THEM
    confidence = rng.beta(4, 2, n)
    weights = rng.choice([1.0, 3.0, 8.0], n)
    return written_out(
        truth.tolist(),
        given.tolist(),
        confidence.tolist(),
        labels,
        (np.arange(n) // 2).tolist(),
        weights.tolist(),
        attribute,
    )
