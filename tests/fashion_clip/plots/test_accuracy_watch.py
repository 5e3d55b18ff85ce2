"""The picture of the check: a panel an attribute, the figures in it, and red what fell."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from fashion_clip.plots.accuracy_watch import Point, accuracy_watch
from fashion_clip.plots.style import BLUE, RED, to_png

BEGUN = datetime(2026, 9, 1, 2, tzinfo=UTC)


def looks(accuracies: list[float | None], baseline: float | None, dropped: bool) -> list[Point]:
    return [
        Point(
            BEGUN + timedelta(days=day),
            right,
            right and right - 0.1,
            right and right + 0.1,
            baseline,
            dropped,
        )
        for day, right in enumerate(accuracies)
    ]


def test_every_attribute_has_its_panel_with_its_figures() -> None:
    figure = accuracy_watch(
        {"kind": looks([0.9, 0.8, 0.6], 0.85, True), "_$colour$": looks([None, 0.7, 0.7], None, False)}
    )
    kind, colour = figure.axes
    assert np.asarray(kind.lines[0].get_ydata()).tolist() == pytest.approx([90, 80, 60])
    assert np.asarray(kind.lines[1].get_ydata()).tolist() == pytest.approx([85] * 3)
    assert np.asarray(colour.lines[0].get_ydata()).tolist() == pytest.approx([70, 70])
    assert (kind.lines[0].get_color(), colour.lines[0].get_color()) == (RED, BLUE)
    assert figure.get_suptitle() == "Dropped: kind"
    assert to_png(figure).startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_nights_without_truth_and_a_single_look_are_drawn() -> None:
    figure = accuracy_watch({name: looks([None], None, False) for name in "abc"})
    assert figure.get_suptitle() == "No drop in accuracy"
    assert [axes.get_visible() for axes in figure.axes] == [True, True, True, False]
    assert to_png(figure)


@pytest.mark.parametrize("nothing", [{}, {"kind": []}])
def test_nothing_to_draw_is_refused(nothing: dict[str, list[Point]]) -> None:
    with pytest.raises(ValueError, match="no attribute"):
        accuracy_watch(nothing)
