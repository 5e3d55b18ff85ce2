"""How right the champion was, look by look and attribute by attribute, beside what it should be at least."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from fashion_clip.plots.style import BLACK, BLUE, GREY, RED, new_figure, plain, quiet

ACROSS = 2


@dataclass(frozen=True)
class Point:
    """A look: accuracy with its 95 % interval and the baseline, 0..1; None where there was none."""

    at: datetime
    accuracy: float | None
    low: float | None
    high: float | None
    baseline: float | None
    dropped: bool


def accuracy_watch(looks: Mapping[str, Sequence[Point]]) -> Figure:
    """A panel an attribute: accuracy with its interval, dashed the baseline; an attribute that fell is red.

    Raises:
        ValueError: no attribute, or one without a look.
    """
    if not looks or not all(looks.values()):
        raise ValueError("no attribute, or no look at one")
    across = min(ACROSS, len(looks))
    down = -(-len(looks) // across)
    figure = new_figure(4.5 * across, 0.8 + 1.7 * down)
    panels = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes, (attribute, points) in zip(panels.flat, looks.items(), strict=False):
        _draw(axes, attribute, points)
    for axes in list(panels.flat)[len(looks) :]:
        axes.set_visible(False)
    fell = [attribute for attribute, points in looks.items() if points[-1].dropped]
    told = "dropped: " + ", ".join(plain(name) for name in fell) if fell else "no drop in accuracy"
    figure.suptitle(f"{told[0].upper()}{told[1:]}", color=RED if fell else BLACK)
    figure.supylabel("% right of random truth", fontsize=9)
    return figure


def _draw(axes: Axes, attribute: str, points: Sequence[Point]) -> None:
    colour = RED if points[-1].dropped else BLUE
    known = [point for point in points if point.accuracy is not None]
    times = date2num([point.at for point in known])
    low, right, high = (
        100 * np.array([value for value in values if value is not None], dtype=float)
        for values in zip(*((point.low, point.accuracy, point.high) for point in known), strict=True)
    ) if known else (np.empty(0),) * 3  # fmt: skip
    axes.fill_between(times, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(times, right, color=colour, marker="o", markersize=3)
    bounded = [(point.at, 100 * point.baseline) for point in points if point.baseline is not None]
    axes.plot(
        date2num([at for at, _ in bounded]), [value for _, value in bounded], color=GREY, linestyle="--"
    )
    axes.set_title(plain(attribute), fontsize=9, loc="left", color=colour)
    axes.set_ylim(0, 101)
    quiet(axes)
    first, last = points[0].at, max(points[-1].at, points[0].at + timedelta(days=1))
    axes.set_xlim(date2num(first - (last - first) / 50), date2num(last + (last - first) / 50))
    locator = AutoDateLocator(maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    axes.tick_params(labelsize=7.5)
