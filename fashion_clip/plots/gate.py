"""What the gate saw: how much better or worse a challenger is, attribute by attribute and label by label."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fashion_clip.plots.style import BLACK, BLUE, GREEN, GREY, RED, new_figure, plain, quiet
from fashion_clip.verdict import Check, Kind, Verdict

MOST_LABELS = 8  # of the worst, and of the best
ROW = 0.3  # inches
MARGIN = "dashed: what may be lost"


def gate(verdict: Verdict) -> Figure:
    """Differences in points with their intervals: of attributes, and below of the best and the worst labels.

    What does not pass is red. Dashed is what may be lost, and the gain that was asked for if there was one.
    Without any difference the title stands alone.
    """
    attributes = [*verdict.of(Kind.GAIN), *verdict.of(Kind.ATTRIBUTE), *verdict.of(Kind.KEPT_OUT)]
    labels = telling_labels(verdict.of(Kind.LABEL))
    panels = [part for part in (attributes, labels) if part]
    figure = new_figure(9, 1.6 + sum(ROW * len(part) + 1 for part in panels))
    figure.suptitle(_title(verdict))
    if not panels:
        return figure
    heights = [len(part) + 1 for part in panels]
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, checks in zip(axes, panels, strict=True):
        _draw(part, checks)
    if attributes:
        axes[0].set_xlabel(f"accuracy, points more than the champion (95 % interval; {MARGIN})")
        axes[0].set_ylabel("attribute, products")
    if labels:
        axes[-1].set_xlabel(f"recall, points more than the champion (95 % for all labels together; {MARGIN})")
        axes[-1].set_ylabel("label, products with it")
        shown = f"{len(labels)} of {len(verdict.of(Kind.LABEL)):,} labels: the surest losses and gains"
        axes[-1].set_title(shown, fontsize=10, loc="left")
    return figure


def telling_labels(checks: Sequence[Check], most: int = MOST_LABELS) -> list[Check]:
    """The best and the worst labels, at most `most` of each, best first; none whose recall stays the same.

    A loss of 100 points is common among labels of one product, so the square root of their number counts too:
    it is what a difference is measured against that chance makes. A label that vetoes is never left out.
    """
    ordered = sorted(checks, key=lambda check: -check.difference * np.sqrt(check.n))
    best = [check for check in ordered if check.difference > 0][:most]
    losses = [check for check in ordered if check.difference < 0]
    worst = [check for check in losses if not check.passed or check in losses[-most:]]
    return best + worst


def _draw(axes: Axes, checks: Sequence[Check]) -> None:
    for place, check in enumerate(checks):
        colour = _colour(check)
        if check.low is not None and check.high is not None:
            axes.plot([100 * check.low, 100 * check.high], [place, place], color=colour, linewidth=1.5)
        axes.plot([100 * check.difference], [place], "o", color=colour, markersize=6)
        if check.kind is not Kind.GAIN or check.limit > 0:
            where = [100 * check.limit] * 2
            axes.plot(where, [place - 0.5, place + 0.5], color=BLACK, linewidth=1.2, linestyle="--")
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(checks)), [_name(check) for check in checks], fontsize=8.5)
    axes.set_ylim(len(checks) - 0.4, -0.6)
    quiet(axes)
    axes.grid(visible=False, axis="y")


def _colour(check: Check) -> str:
    if not check.passed:
        return RED
    return GREEN if check.kind is Kind.GAIN else BLUE


def _name(check: Check) -> str:
    name = plain(check.attribute)
    if check.label is not None:
        name = f"{plain(check.label)} ({name})"
    if check.kind is Kind.KEPT_OUT:
        name += ", kept out"
    return f"{name}  {check.n:,}"


def _title(verdict: Verdict) -> str:
    gains = verdict.of(Kind.GAIN)
    if not gains:
        return "Rejected: no truth of the primary attribute"
    [gain] = gains
    told = f"{plain(gain.attribute)} {100 * gain.difference:+.1f} points (p = {gain.p_value:.2g})"
    vetoes = [check for check in verdict.failed if check.kind is not Kind.GAIN]
    of_vetoes = f"{len(vetoes)} veto{'es' if len(vetoes) > 1 else ''}" if vetoes else "no veto"
    return f"{'Better' if verdict.passed else 'Rejected'}: {told}, {of_vetoes}"
