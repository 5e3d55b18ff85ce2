"""The figures are scikit-learn's own, and those that it lacks are counted by hand."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from fashion_clip.intervals import exact_interval
from fashion_clip.metrics import (
    calibration_error,
    confusion,
    coverage_at_95,
    coverage_curve,
    equal_mass_bins,
    measure,
)
from tests.fashion_clip.predictions_made_up import at_random, written_out

LETTERS = "abcdefgh"
Floats = npt.NDArray[np.float64]

# Confidences that repeat, with right and wrong, and a weight.
photos = st.lists(
    st.tuples(
        st.integers(0, 20).map(lambda value: value / 20), st.booleans(), st.sampled_from([0.5, 1.0, 4.0])
    ),
    min_size=1,
    max_size=60,
)


def columns(rows: list[tuple[float, bool, float]]) -> tuple[Floats, npt.NDArray[np.bool_], Floats]:
    confidence, hits, weights = zip(*rows, strict=True)
    return np.array(confidence), np.array(hits), np.array(weights)


@given(st.integers(2, 8), st.integers(1, 60), st.integers(0, 10_000))
def test_figures_are_scikit_learns(size: int, n: int, seed: int) -> None:
    predictions = at_random(LETTERS[:size], n, seed)
    truth, given_, weights = predictions.truth, predictions.top.index[:, 0], predictions.weights
    found = measure(predictions)
    assert found.accuracy.estimate == pytest.approx(accuracy_score(truth, given_, sample_weight=weights))
    occurring = sorted((set(truth) | set(given_)) - {-1})
    for kind, value in (("macro", found.macro_f1), ("weighted", found.weighted_f1)):
        theirs = f1_score(
            truth, given_, labels=occurring, average=kind, sample_weight=weights, zero_division=0
        )
        assert value == pytest.approx(theirs)
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, given_, labels=range(size), sample_weight=weights, zero_division=0
    )
    np.testing.assert_allclose([label.precision for label in found.labels], precision)
    np.testing.assert_allclose([label.recall for label in found.labels], recall)
    np.testing.assert_allclose([label.f1 for label in found.labels], f1)
    assert [label.support for label in found.labels] == [int((truth == label).sum()) for label in range(size)]
    assert [label.predicted for label in found.labels] == [int((given_ == k).sum()) for k in range(size)]
    for label in found.labels:
        assert label.recall_low <= label.recall <= label.recall_high or not label.support
    if (truth >= 0).any():
        known = truth >= 0
        np.testing.assert_array_equal(
            found.confusion, confusion_matrix(truth[known], given_[known], labels=range(size))
        )
    assert (found.n, found.outside) == (n, int((truth == -1).sum()))
    assert found.products == len(np.unique(predictions.products))


def test_top_five_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(200, 8))
    truth, weights = rng.integers(0, 8, 200), rng.uniform(1, 4, 200)
    predictions = written_out(truth.tolist(), [0] * 200, [0.5] * 200, LETTERS, weights=weights.tolist())
    predictions.top.index[:] = np.argsort(-scores, axis=1)
    theirs = top_k_accuracy_score(truth, scores, k=5, sample_weight=weights)
    assert measure(predictions).top5 == pytest.approx(theirs)


def test_an_attribute_written_out() -> None:
    predictions = written_out([0, 0, 0, 1, 1, -1], [0, 0, 1, 1, 1, 2], [0.9] * 6, LETTERS[:4])
    found = measure(predictions)
    assert found.accuracy.estimate == pytest.approx(4 / 6)
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx(exact_interval(4, 6), abs=1e-9)
    assert found.top5 == pytest.approx(5 / 6)  # with four labels all but the one outside
    assert found.macro_f1 == pytest.approx((0.8 + 0.8 + 0) / 3)  # c is given and never true; d does not occur
    assert found.weighted_f1 == pytest.approx(0.8)
    assert found.confusion.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [0] * 4, [0] * 4]
    a, b, c, d = found.labels
    assert (a.support, a.predicted, a.precision, a.recall) == pytest.approx((3, 2, 1, 2 / 3))
    assert (a.recall_low, a.recall_high) == pytest.approx(exact_interval(2, 3), abs=1e-9)
    assert (b.support, b.predicted, b.precision, b.recall) == pytest.approx((2, 3, 2 / 3, 1))
    assert (c.support, c.predicted, c.precision, c.recall_low, c.recall_high) == (0, 1, 0.0, 0.0, 1.0)
    assert (d.support, d.predicted, d.f1) == (0, 0, 0.0)
    assert found.confusion.dtype == np.int64


def test_truth_that_is_all_outside_is_measured() -> None:
    found = measure(written_out([-1, -1], [0, 1], [0.9, 0.4]))
    assert (found.accuracy.estimate, found.top5, found.macro_f1, found.weighted_f1) == (0, 0, 0, 0)
    assert not found.confusion.any()
    assert found.calibration_error == pytest.approx(0.65)


def test_no_photos_are_refused() -> None:
    nothing = written_out([0], [0], [0.5]).rows([])
    with pytest.raises(ValueError, match="no observations"):
        measure(nothing)
    assert not confusion(nothing).any()
    for of_nothing in (calibration_error, coverage_at_95, coverage_curve):
        with pytest.raises(ValueError, match="no photos"):
            of_nothing(np.array([]), np.array([], dtype=bool))


@given(photos, st.integers(1, 20))
def test_calibration_error_is_a_share_whatever_the_order(
    rows: list[tuple[float, bool, float]], bins: int
) -> None:
    confidence, hits, weights = columns(rows)
    error = calibration_error(confidence, hits, weights, bins)
    assert 0 <= error <= 1
    shuffled = np.random.default_rng(0).permutation(len(rows))
    again = calibration_error(confidence[shuffled], hits[shuffled], weights[shuffled], bins)
    assert again == pytest.approx(error)
    assert calibration_error(confidence, hits, 3 * weights, bins) == pytest.approx(error)
    overall = abs(np.average(confidence - hits, weights=weights))
    assert error >= overall - 1e-12  # parts cannot be nearer than the whole
    assert calibration_error(confidence, hits, weights, 1) == pytest.approx(overall)


@given(photos, st.integers(1, 20))
def test_bins_follow_confidence_and_hold_equal_mass(rows: list[tuple[float, bool, float]], bins: int) -> None:
    confidence, _, weights = columns(rows)
    found = equal_mass_bins(confidence, weights, bins)
    assert found.min() >= 0
    assert found.max() < bins
    order = np.argsort(confidence)
    assert (np.diff(found[order]) >= 0).all()
    assert all(len(set(found[confidence == value])) == 1 for value in confidence)
    most = max(weights[confidence == value].sum() for value in confidence)
    assert np.bincount(found, weights).max() <= weights.sum() / bins + most + 1e-9


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
    hits = np.array([0, 0, 0, 1, 1, 1, 0, 1], dtype=bool)
    assert calibration_error(confidence, hits, bins=2) == pytest.approx((0.0 + 0.0) / 2)
    assert calibration_error(confidence, hits, bins=4) == pytest.approx((0.15 + 0.15 + 0.35 + 0.35) / 4)
    assert calibration_error(confidence, hits, bins=15) == pytest.approx(np.abs(confidence - hits).mean())


def test_equal_confidences_are_one_bin() -> None:
    assert calibration_error(np.full(40, 0.7), np.arange(40) < 28) == pytest.approx(0)
    assert calibration_error(np.ones(4), np.ones(4, dtype=bool)) == 0
    assert calibration_error(np.ones(4), np.zeros(4, dtype=bool)) == 1


@given(photos)
def test_the_curve_covers_ever_more(rows: list[tuple[float, bool, float]]) -> None:
    confidence, hits, weights = columns(rows)
    thresholds, coverage, precision = coverage_curve(confidence, hits, weights)
    assert (np.diff(thresholds) < 0).all()
    assert (np.diff(coverage) > 0).all()
    assert coverage[-1] == pytest.approx(1)
    assert precision[-1] == pytest.approx(np.average(hits, weights=weights))
    for threshold, share, right in zip(thresholds, coverage, precision, strict=True):
        kept = confidence >= threshold
        assert share == pytest.approx(weights[kept].sum() / weights.sum())
        assert right == pytest.approx(np.average(hits[kept], weights=weights[kept]))
    reached = coverage[precision >= 0.95]
    assert coverage_at_95(confidence, hits, weights) == (reached.max() if len(reached) else 0)


def test_coverage_at_95_by_hand() -> None:
    sure = np.linspace(1, 0.01, 100)
    assert coverage_at_95(sure, np.arange(100) != 19) == 1.0
    twentieth_and_on = (np.arange(100) < 19) | (np.arange(100) > 100)
    assert coverage_at_95(sure, twentieth_and_on) == 0.2  # 19 of 20 are exactly 95 %
    assert coverage_at_95(sure, np.arange(100) % 2 == 1) == 0.0
    first_wrong = np.arange(100) > 0
    assert coverage_at_95(sure, first_wrong) == 1.0  # the surest is wrong, and 99 of 100 are right
    tied = np.full(100, 0.5)
    assert coverage_at_95(tied, np.arange(100) < 94) == 0.0  # ties are taken together
