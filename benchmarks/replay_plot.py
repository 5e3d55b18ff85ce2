"""A replay as a picture: accuracy night by night in each arm, and below what was done about it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from benchmarks.replay_arms import Told
from benchmarks.replay_figures import accuracy, means
from fashion_clip.plots.style import BLACK, BLUE, GREEN, GREY, LIGHT, ORANGE, RED, new_figure, quiet, to_png

COLOURS = (GREY, ORANGE, BLUE, GREEN)
SMOOTHED = 5  # nights
SIGNS = {
    "alarm": ("v", RED, "alarm"),
    "retraining": ("|", GREY, "retraining"),
    "promotion": ("*", BLACK, "promotion"),
    "rollback": ("x", RED, "rolled back"),
    "labels": ("P", BLUE, "labels added"),
}


def draw(arms: Mapping[str, Sequence[Told]], file: Path) -> None:
    """Writes a PNG. Arms have the same nights."""
    figure = new_figure(9, 6.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 0.35 + 0.3 * len(arms)))
    nights = next(iter(arms.values()))
    for colour, (name, told) in zip(COLOURS, arms.items(), strict=False):
        values = np.array([100 * accuracy([night]) for night in told])
        label: str | None = f"{name}: {100 * means(told):.0f} %"
        for start, end in _years(told).values():
            marker = "o" if end - start < SMOOTHED else None
            line = {"color": colour, "marker": marker, "markersize": 3, "linewidth": 1.8}
            upper.plot(range(start, end), _smoothed(values[start:end]), label=label, **line)
            label = None
    upper.set_ylabel("% of labels right, mean of seven attributes")
    upper.set_title(
        f"Labels as given on the night, {SMOOTHED}-night mean within a year", loc="left", fontsize=10
    )
    upper.legend(loc="lower left", frameon=False, fontsize=9, title="mean of all nights", alignment="left")
    _draw_events(lower, arms)
    for axes in (upper, lower):
        quiet(axes)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        for start, _ in _years(nights).values():
            axes.axvline(start - 0.5, color=LIGHT, linewidth=0.8, zorder=0)
    years = _years(nights).items()
    places = [(start + end - 1) / 2 for _, (start, end) in years]
    names = [str(year) if end - start >= SMOOTHED else f"{year % 100}" for year, (start, end) in years]
    lower.set_xticks(places, names, fontsize=8)
    lower.get_xticklabels()[-1].set_horizontalalignment("left")  # of the single night of the last year
    lower.set_xlim(-1, len(nights))
    lower.set_xlabel("nights, by year")
    file.write_bytes(to_png(figure))


def _draw_events(axes: Axes, arms: Mapping[str, Sequence[Told]]) -> None:
    for kind, (marker, colour, label) in SIGNS.items():
        places = [
            (night, row)
            for row, told in enumerate(arms.values())
            for night, one in enumerate(told)
            if kind in one.events
        ]
        if places:
            size = {"*": 90, "|": 80}.get(marker, 36)
            shift = {"alarm": -0.28, "labels": 0.28, "rollback": 0.28}.get(kind, 0.0)
            x, y = zip(*places, strict=True)
            axes.scatter(x, np.array(y) + shift, s=size, marker=marker, color=colour, label=label, zorder=3)
    axes.set_yticks(range(len(arms)), list(arms), fontsize=9)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=len(SIGNS), frameon=False, fontsize=8.5)


def _years(nights: Sequence[Told]) -> dict[int, tuple[int, int]]:
    """Year -> its first night, and the one after its last."""
    found: dict[int, tuple[int, int]] = {}
    for number, night in enumerate(nights):
        start, _ = found.get(night.year, (number, 0))
        found[night.year] = (start, number + 1)
    return found


def _smoothed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean of the nights around each, fewer at the ends."""
    reach = SMOOTHED // 2
    return np.array(
        [values[max(place - reach, 0) : place + reach + 1].mean() for place in range(len(values))]
    )
