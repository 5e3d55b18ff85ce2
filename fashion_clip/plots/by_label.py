"""Which labels are found, and how sure that is: recall of each, with its interval."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fashion_clip.metrics import AttributeMetrics, LabelMetrics
from fashion_clip.plots.style import BLUE, GREY, RED, new_figure, plain, quiet

IN_COLUMN = 48  # labels
HALF = 0.5


def by_label(metrics: AttributeMetrics) -> Figure:
    """The recall of each label that is the truth of a photo, best first, in columns; with 95 % intervals."""
    known = sorted(
        (label for label in metrics.labels if label.support),
        key=lambda label: (-label.recall, -label.support),
    )
    columns = max(1, -(-len(known) // IN_COLUMN))
    rows = max(1, -(-len(known) // columns))
    figure = new_figure(1 + 5 * columns, 1.4 + 0.24 * rows)
    parts = figure.subplots(1, columns, squeeze=False)[0]
    for number, axes in enumerate(parts):
        _draw(axes, known[number * rows : (number + 1) * rows], rows)
    found = sum(label.recall >= HALF for label in known)
    told = f"{found} of {len(known)} labels are found on at least half of their photos"
    figure.suptitle(f"{plain(metrics.attribute)}: {told}")
    return figure


def _draw(axes: Axes, labels: Sequence[LabelMetrics], rows: int) -> None:
    places = list(range(len(labels)))
    recall = [label.recall for label in labels]
    colours = [BLUE if value >= HALF else RED for value in recall]
    axes.barh(places, recall, color=colours, alpha=0.35, height=0.75)
    reach = [
        [label.recall - label.recall_low for label in labels],
        [label.recall_high - label.recall for label in labels],
    ]
    axes.errorbar(
        recall, places, xerr=reach, fmt="none", ecolor="black", elinewidth=1, capsize=2, clip_on=False
    )
    axes.scatter(recall, places, color=colours, s=18, zorder=3, clip_on=False)
    names = [f"{plain(label.label)}  {label.support:,}" for label in labels]
    axes.set_yticks(places, names, fontsize=8.5)
    axes.set(xlim=(0, 1), ylim=(rows - 0.4, -0.6))
    axes.axvline(HALF, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xlabel("recall: share of a label's photos that are given it")
    axes.set_ylabel("label, photos with it")
    quiet(axes)
    axes.grid(visible=False, axis="y")
