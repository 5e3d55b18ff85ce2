"""The gate's picture shows the figures of the checks, names what was chosen, and bears any name."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from fashion_clip.gate import Judged, Rules, judge
from fashion_clip.plots.gate import MOST_LABELS, gate, telling_labels
from fashion_clip.plots.style import RED, to_png
from fashion_clip.verdict import Check, Kind, Verdict
from tests.fashion_clip.predictions_made_up import at_random

LABELS = [f"label {number}" for number in range(40)]


def seen(primary: str = "kind") -> Verdict:
    champion, challenger = (
        Judged((at_random(LABELS, 800, 3, right), at_random("xyz", 800, 4, other, "colour")))
        for right, other in ((0.6, 0.8), (0.8, 0.5))
    )
    return judge(champion, challenger, Rules(primary), 0.01)


def check(label: str, n: int, difference: float, passed: bool = True) -> Check:
    return Check(
        Kind.LABEL, "kind", label, n, 0.5, 0.5 + difference, difference, -1.0, 1.0, 1.0, -0.1, passed
    )


def points(axes: Axes) -> list[float]:
    return [float(np.asarray(line.get_xdata())[0]) for line in axes.lines if line.get_marker() == "o"]


def test_every_attribute_and_the_telling_labels_are_drawn() -> None:
    verdict = seen()
    upper, lower = gate(verdict).axes
    attributes = [*verdict.of(Kind.GAIN), *verdict.of(Kind.ATTRIBUTE)]
    assert points(upper) == pytest.approx([100 * one.difference for one in attributes])
    assert [text.get_text() for text in upper.get_yticklabels()] == ["kind  400", "colour  400"]
    labels = telling_labels(verdict.of(Kind.LABEL))
    assert points(lower) == pytest.approx([100 * one.difference for one in labels])
    assert f"{len(labels)} of 43 labels" in lower.get_title(loc="left")
    spans = [np.asarray(line.get_xdata()) for line in upper.lines if line.get_color() == RED]
    colour = attributes[1]
    assert colour.low is not None and colour.high is not None
    assert spans[0] == pytest.approx([100 * colour.low, 100 * colour.high])
    assert gate(verdict).get_suptitle().startswith("Rejected: kind +")
    assert gate(verdict).get_suptitle().endswith("1 veto")


def test_labels_of_one_product_do_not_crowd_out_the_others() -> None:
    checks = [check(f"one {number}", 1, -1.0) for number in range(20)]
    checks += [check("many", 200, -0.3), check("better", 50, 0.2), check("same", 500, 0.0)]
    chosen = telling_labels(checks)
    assert chosen[0].label == "better"
    assert chosen[-1].label == "many"
    assert len(chosen) == 1 + MOST_LABELS


def test_a_label_that_vetoes_is_always_shown() -> None:
    checks = [check(f"large {number}", 900, -0.09) for number in range(20)] + [check("veto", 4, -0.5, False)]
    assert "veto" in [one.label for one in telling_labels(checks)]


def test_without_truth_the_title_stands_alone() -> None:
    none = judge(Judged(()), Judged(()), Rules("kind"), 0.01)
    figure = gate(none)
    assert figure.get_suptitle() == "Rejected: no truth of the primary attribute"
    assert to_png(figure)
    assert len(gate(seen("nothing")).axes) == 2


def test_hostile_names_are_borne() -> None:
    names = ["<script>", "$x$ $\\frac$", "_hidden", "n\new\x00 line", "w" * 500]
    models = [Judged((at_random(names, 200, 3, right, "$\\evil{$"),)) for right in (0.5, 0.9)]
    assert to_png(gate(judge(models[0], models[1], Rules("$\\evil{$"), 0.01))).startswith(b"\x89PNG")
