"""How good predictions are: the figures of one attribute, as scikit-learn computes them where it has them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fashion_clip.intervals import Share, share_with_interval
from fashion_clip.predictions import NONE_OF_THEM, Predictions

PRECISION_ASKED = 0.95  # of `coverage_at_95`
BINS = 15


@dataclass(frozen=True)
class LabelMetrics:
    """One label. support and predicted count photos; all else is weighted, 0..1, and 0 where nothing counts.

    recall_low, recall_high: the 95 % interval of recall, by product; 0 and 1 without support.
    """

    label: str
    support: int
    predicted: int
    precision: float
    recall: float
    f1: float
    recall_low: float
    recall_high: float


@dataclass(frozen=True, eq=False)
class AttributeMetrics:
    """One attribute of n photos of `products` products; shares are weighted, 0..1.

    outside: photos whose truth is none of the labels; they count as wrong.
    macro_f1: mean over the labels that occur as truth or as prediction. weighted_f1: weighted by support.
    calibration_error, coverage_at_95: see the functions of these names.
    labels: all L of them, in the taxonomy's order.
    confusion: int64 (L, L), photos; rows are the true labels, columns the given ones.
    """

    attribute: str
    n: int
    products: int
    outside: int
    accuracy: Share
    top5: float
    macro_f1: float
    weighted_f1: float
    calibration_error: float
    coverage_at_95: float
    labels: tuple[LabelMetrics, ...]
    confusion: npt.NDArray[np.int64]


def measure(predictions: Predictions) -> AttributeMetrics:
    """The figures of one attribute.

    Raises:
        ValueError: no photos.
    """
    from sklearn.metrics import f1_score

    accuracy = share_with_interval(predictions.hits, predictions.products, predictions.weights)
    truth, given, weights = predictions.truth, predictions.top.index[:, 0], predictions.weights
    occurring = np.setdiff1d(np.union1d(truth, given), [NONE_OF_THEM])
    macro, weighted = (
        float(f1_score(truth, given, labels=occurring, average=kind, sample_weight=weights, zero_division=0))
        for kind in ("macro", "weighted")
    )
    among_five = (predictions.top.index[:, :5] == truth[:, None]).any(axis=1)
    return AttributeMetrics(
        attribute=predictions.attribute,
        n=len(truth),
        products=len(np.unique(predictions.products)),
        outside=int((truth == NONE_OF_THEM).sum()),
        accuracy=accuracy,
        top5=float(np.average(among_five, weights=weights)),
        macro_f1=macro,
        weighted_f1=weighted,
        calibration_error=calibration_error(predictions.confidence, predictions.hits, weights),
        coverage_at_95=coverage_at_95(predictions.confidence, predictions.hits, weights),
        labels=_label_metrics(predictions),
        confusion=confusion(predictions),
    )


def confusion(predictions: Predictions) -> npt.NDArray[np.int64]:
    """int64 (L, L): photos with the true label of the row and the given one of the column."""
    size = len(predictions.labels)
    known = predictions.truth != NONE_OF_THEM
    # scikit-learn's refuses truth of which no label occurs, which photos outside the taxonomy make.
    cells = predictions.truth[known] * size + predictions.top.index[known, 0]
    return np.bincount(cells, minlength=size * size).astype(np.int64).reshape(size, size)


def calibration_error(
    confidence: npt.NDArray[np.float64],
    hits: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64] | None = None,
    bins: int = BINS,
) -> float:
    """Expected calibration error, 0..1: the mean distance between confidence and accuracy in a bin.

    Naeini, Cooper and Hauskrecht (AAAI 2015), with bins of equal mass (Nguyen and O'Connor, EMNLP 2015).

    Args:
        confidence: (n,), 0..1. hits: bool (n,). weights: (n,), positive; all alike if None.

    Raises:
        ValueError: no photos.
    """
    if not len(confidence):
        raise ValueError("a calibration error of no photos")
    w = np.ones(len(confidence)) if weights is None else weights
    gaps = np.bincount(equal_mass_bins(confidence, w, bins), w * (confidence - hits))
    return float(np.abs(gaps).sum() / w.sum())


def equal_mass_bins(
    confidence: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], bins: int = BINS
) -> npt.NDArray[np.intp]:
    """int (n,), 0..bins-1: the bin of each, by confidence, all of about the same weight together.

    Equal confidences share a bin, so that the order of photos does not count; a bin may be empty.
    """
    values, where = np.unique(confidence, return_inverse=True)
    mass = np.bincount(where, weights, minlength=len(values))
    middle = np.cumsum(mass) - mass / 2
    bin_of: npt.NDArray[np.intp] = np.minimum(middle / mass.sum() * bins, bins - 1).astype(np.intp)[where]
    return bin_of


def coverage_at_95(
    confidence: npt.NDArray[np.float64],
    hits: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64] | None = None,
) -> float:
    """The largest share of photos, the surest first, of which at least 95 % are right; 0 where there is none.

    It describes these photos. It promises nothing of others: that is what calibration's thresholds do.

    Raises:
        ValueError: no photos.
    """
    _, coverage, precision = coverage_curve(confidence, hits, weights)
    return float(coverage[precision >= PRECISION_ASKED].max(initial=0.0))


def coverage_curve(
    confidence: npt.NDArray[np.float64],
    hits: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64] | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What remains and how much of it is right at every threshold of confidence that makes a difference.

    Returns:
        thresholds, falling; the share of photos at or above each, rising to 1; the share of these that is
        right. All (t,), one for each distinct confidence.

    Raises:
        ValueError: no photos.
    """
    if not len(confidence):
        raise ValueError("a coverage curve of no photos")
    w = np.ones(len(confidence)) if weights is None else weights
    values, where = np.unique(-confidence, return_inverse=True)
    mass = np.cumsum(np.bincount(where, w))
    right = np.cumsum(np.bincount(where, w * hits))
    return -values, mass / mass[-1], right / mass


def _label_metrics(predictions: Predictions) -> tuple[LabelMetrics, ...]:
    from sklearn.metrics import precision_recall_fscore_support

    truth, given, size = predictions.truth, predictions.top.index[:, 0], len(predictions.labels)
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, given, labels=np.arange(size), sample_weight=predictions.weights, zero_division=0
    )
    predicted = np.bincount(given, minlength=size)
    rows = np.split(np.argsort(truth, kind="stable"), np.searchsorted(np.sort(truth), np.arange(size)))[1:]
    intervals = [_recall_interval(predictions, of_label) for of_label in rows]
    return tuple(
        LabelMetrics(
            name,
            len(rows[label]),
            int(predicted[label]),
            float(precision[label]),
            float(recall[label]),
            float(f1[label]),
            *intervals[label],
        )
        for label, name in enumerate(predictions.labels)
    )


def _recall_interval(predictions: Predictions, rows: npt.NDArray[np.intp]) -> tuple[float, float]:
    if not len(rows):
        return 0.0, 1.0
    recall = share_with_interval(
        predictions.hits[rows], predictions.products[rows], predictions.weights[rows]
    )
    return recall.low, recall.high
