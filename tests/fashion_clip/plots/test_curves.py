"""Reliability, accuracy by confidence, similarities and recall by label hold the numbers of the metrics."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from fashion_clip.intervals import share_with_interval
from fashion_clip.metrics import calibration_error, coverage_at_95, coverage_curve, equal_mass_bins, measure
from fashion_clip.plots.by_confidence import by_confidence
from fashion_clip.plots.by_label import IN_COLUMN, by_label
from fashion_clip.plots.reliability import reliability
from fashion_clip.plots.similarities import similarities
from fashion_clip.plots.style import to_png
from tests.fashion_clip.predictions_made_up import at_random, written_out

KIND = at_random("abcdef", 600)


def ends(bars: ErrorbarContainer, horizontal: bool = False) -> list[tuple[float, float]]:
    """Where the bars begin and end."""
    _, _, (lines,) = bars.lines
    axis = 0 if horizontal else 1
    return [(part[0][axis], part[1][axis]) for part in lines.get_segments()]


def place(point: Line2D) -> tuple[float, float]:
    """Where a line of one point stands."""
    (x,), (y,) = np.asarray(point.get_xdata()), np.asarray(point.get_ydata())
    return float(x), float(y)


def bars_of(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def points(axes: Axes) -> list[ErrorbarContainer]:
    return [entry for entry in axes.containers if isinstance(entry, ErrorbarContainer)]


def test_reliability_shows_every_bin_with_its_interval() -> None:
    figure = reliability(KIND)
    upper, lower = figure.axes
    bins = equal_mass_bins(KIND.confidence, KIND.weights)
    drawn = points(upper)
    assert len(drawn) == len(np.unique(bins)) == 15
    for number, bars in zip(np.unique(bins), drawn, strict=True):
        rows = bins == number
        share = share_with_interval(KIND.hits[rows], KIND.products[rows], KIND.weights[rows])
        x, y = place(bars.lines[0])
        assert x == pytest.approx(np.average(KIND.confidence[rows], weights=KIND.weights[rows]))
        assert y == pytest.approx(share.estimate)
        assert ends(bars) == [pytest.approx((share.low, share.high))]
    assert sum(bar.get_height() for bar in bars_of(lower)) == pytest.approx(1)
    error = calibration_error(KIND.confidence, KIND.hits, KIND.weights)
    assert f"{error:.3f}" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("confidence", "told"), [(0.9, "0.40 too high"), (0.2, "0.30 too low"), (0.5, "as high as accuracy")]
)
def test_the_title_says_which_way_confidence_errs(confidence: float, told: str) -> None:
    figure = reliability(written_out([0, 0], [0, 1], [confidence] * 2))
    assert told in figure.get_suptitle()


def test_before_and_after_stand_beside_each_other() -> None:
    before = written_out([0, 0, 1, 1], [0, 1, 1, 0], [0.9] * 4)
    after = written_out([0, 0, 1, 1], [0, 1, 1, 0], [0.5] * 4)
    figure = reliability(after, before)
    assert figure.get_suptitle() == "kind: calibration error 0.400 before, 0.000 after"
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][1:] == ["before", "after"]


def test_by_confidence_draws_the_curve() -> None:
    figure = by_confidence(KIND)
    right, covered, line = figure.axes[0].lines[:3]
    thresholds, coverage, precision = coverage_curve(KIND.confidence, KIND.hits, KIND.weights)
    np.testing.assert_array_equal(right.get_xdata(), thresholds)
    np.testing.assert_array_equal(right.get_ydata(), precision)
    np.testing.assert_array_equal(covered.get_ydata(), coverage)
    assert set(np.asarray(line.get_ydata())) == {0.95}


def test_by_confidence_marks_what_95_percent_leaves() -> None:
    hits_first = written_out([0] * 20, [0] * 10 + [1] * 10, np.linspace(0.9, 0.1, 20).tolist())
    figure = by_confidence(hits_first)
    share = coverage_at_95(hits_first.confidence, hits_first.hits)
    assert place(figure.axes[0].lines[3]) == pytest.approx((hits_first.confidence[9], share))
    assert figure.get_suptitle() == "kind: the surest 50 % of photos are at least 95 % right"
    never = by_confidence(written_out([0, 0], [1, 1], [0.9, 0.5]))
    assert never.get_suptitle() == "kind: no threshold keeps 95 % right"
    assert len(never.axes[0].lines) == 3


def test_similarities_part_right_from_wrong() -> None:
    figure = similarities(KIND)
    assert sum(bar.get_height() for bar in bars_of(figure.axes[0])) == pytest.approx(1)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    right = int(KIND.hits.sum())
    assert [text.get_text() for text in legend.get_texts()] == [
        f"right ({right} photos)",
        f"wrong ({600 - right} photos)",
    ]
    perfect = written_out([0, 0, 0, 0], [0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1])
    assert similarities(perfect).get_suptitle().endswith("AUROC 1.00")


@pytest.mark.parametrize(("given", "told"), [([0, 1], "right"), ([1, 0], "wrong")])
def test_similarities_of_one_kind_alone(given: list[int], told: str) -> None:
    figure = similarities(written_out([0, 1], given, [0.5, 0.5]))
    assert figure.get_suptitle() == f"kind: all photos are {told}"
    assert to_png(figure)


@pytest.mark.parametrize("size", [2, 7, 45, 143])
def test_by_label_shows_each_label_with_support_once(size: int) -> None:
    metrics = measure(at_random([f"label {number}" for number in range(size)], 6 * size))
    figure = by_label(metrics)
    known = {label.label: label for label in metrics.labels if label.support}
    shown = []
    for axes in figure.axes:
        names = [text.get_text() for text in axes.get_yticklabels()]
        assert len(names) <= IN_COLUMN
        (bars,) = points(axes)
        for name, end, patch in zip(names, ends(bars, horizontal=True), bars_of(axes), strict=True):
            label = known[name.rsplit("  ", 1)[0]]
            assert name.endswith(f"  {label.support}")
            assert end == pytest.approx((label.recall_low, label.recall_high))
            assert patch.get_width() == pytest.approx(label.recall)
            shown.append(label)
    assert {label.label for label in shown} == set(known)
    assert [label.recall for label in shown] == sorted((label.recall for label in shown), reverse=True)
    found = sum(label.recall >= 0.5 for label in shown)
    assert f"{found} of {len(known)} labels" in figure.get_suptitle()


def test_every_curve_bears_hostile_names() -> None:
    names = ["<script>", "$x$ $\\frac$", "_hidden", "n\new\x00 line", "w" * 500]
    predictions = at_random(names, 60, attribute="$\\evil{$ _x")
    for figure in (
        reliability(predictions),
        by_confidence(predictions),
        similarities(predictions),
        by_label(measure(predictions)),
    ):
        assert to_png(figure).startswith(b"\x89PNG")
