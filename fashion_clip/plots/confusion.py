"""Which label is taken for which: the confusion matrix, readable at 143 labels as at 7."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fashion_clip.metrics import confusion
from fashion_clip.plots.style import BLACK, DPI, GREY, LIGHT, percent, plain
from fashion_clip.predictions import Predictions

Counts = npt.NDArray[np.int64]
NUMBERED = 20  # labels up to which cells hold numbers
NO_PARENT = "no parent"
LINE = 0.22  # inches of a line in the list of pairs


@dataclass(frozen=True)
class Pair:
    """Photos of one label that were given another; share: of the photos with the true one."""

    true: str
    given: str
    photos: int
    share: float


@dataclass(frozen=True)
class Group:
    """Rows first..last-1 of the matrix, whose labels have one parent."""

    name: str
    first: int
    last: int


def confusion_matrix(predictions: Predictions, parents: Mapping[str, str] | None = None) -> Figure:
    """The labels that occur, true ones down and given ones across; colour is the share of the true label.

    Labels of one parent stand together, and within it those that are taken for each other (average linkage
    with optimal leaf ordering: Bar-Joseph, Gifford and Jaakkola, Bioinformatics 17, 2001). Beside it stand
    the pairs that are confused most. Photos whose truth is none of the labels are left out.

    Args:
        parents: label -> its parent label; those that it lacks stand together at the end.

    Raises:
        ValueError: no label occurs.
    """
    counts = confusion(predictions)
    occurs = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1) > 0)
    if not len(occurs):
        raise ValueError(f"no photo of {predictions.attribute!r} has one of its labels as truth")
    order, groups = _order(
        [predictions.labels[label] for label in occurs], counts[np.ix_(occurs, occurs)], parents
    )
    rows = occurs[order]
    names = [predictions.labels[label] for label in rows]
    counts = counts[np.ix_(rows, rows)]
    return _draw(plain(predictions.attribute), names, counts, groups)


def worst_pairs(names: Sequence[str], counts: Counts) -> list[Pair]:
    """Pairs of different labels, the most photos first; counts: (L, L), true labels down."""
    support = counts.sum(axis=1)
    wrong = counts - np.diag(np.diag(counts))
    cells = np.argwhere(wrong)
    of_cells = [
        Pair(names[true], names[given], int(wrong[true, given]), float(wrong[true, given] / support[true]))
        for true, given in cells
    ]
    return sorted(of_cells, key=lambda pair: (-pair.photos, -pair.share))


def _order(
    names: Sequence[str], counts: Counts, parents: Mapping[str, str] | None
) -> tuple[npt.NDArray[np.intp], list[Group]]:
    """The order of rows, and the groups in it; without parents one group."""
    of_label = ["" if parents is None else parents.get(name, NO_PARENT) for name in names]
    order: list[int] = []
    groups = []
    for group in sorted(dict.fromkeys(of_label), key=lambda name: name == NO_PARENT):
        members = np.flatnonzero([parent == group for parent in of_label])
        groups.append(Group(group, len(order), len(order) + len(members)))
        order.extend(members[_by_similarity(counts[np.ix_(members, members)])])
    return np.asarray(order, dtype=np.intp), groups


def _by_similarity(counts: Counts) -> npt.NDArray[np.intp]:
    """An order in which labels that are taken for each other are neighbours."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return np.arange(len(counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    order: npt.NDArray[np.intp] = leaves_list(linkage(squareform(distance), "average", optimal_ordering=True))
    return order


def _draw(attribute: str, names: Sequence[str], counts: Counts, groups: Sequence[Group]) -> Figure:
    size = len(names)
    cell = float(np.clip(10 / size, 0.17, 0.55))  # inches
    letters = float(np.clip(cell * 72 * 0.65, 7, 10))  # points
    side = cell * size
    # Rows of labels, names of groups and the list stand outside of the axes; savefig makes room for them.
    figure = Figure(figsize=(side + 5, side), dpi=DPI)
    axes = figure.add_axes((0, 0, side / (side + 5), 1))
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support[:, None], 1)
    picture = axes.imshow(
        shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), aspect="auto", interpolation="nearest"
    )
    axes.set_xticks(range(size), [plain(name) for name in names], fontsize=letters, rotation=90)
    rows = [f"{plain(name)}  {photos:,}" for name, photos in zip(names, support, strict=True)]
    axes.set_yticks(range(size), rows, fontsize=letters)
    axes.tick_params(length=2, color=GREY)
    if size > NUMBERED:  # from its cell the name below may be an arm's length away
        axes.tick_params(axis="x", top=True, labeltop=True, labelrotation=90)
    axes.set_xlabel("given label", fontsize=11)
    axes.set_ylabel("true label, photos with it", fontsize=11)
    if size <= NUMBERED:
        _number(axes, shares, letters)
    if len(groups) > 1:
        _separate(axes, groups, size, letters)
    right = _group_room(groups, letters)
    pairs = worst_pairs(names, counts)
    _list_pairs(axes, pairs, side, right)
    colours = figure.colorbar(
        picture,
        ax=axes,
        cax=axes.inset_axes((1 + right / side, 0.0, 2.6 / side, 0.14 / side)),
        orientation="horizontal",
    )
    colours.set_ticks([0, 0.05, 0.2, 0.5, 1], labels=["0", "5 %", "20 %", "50 %", "100 %"], fontsize=8)
    colours.set_label("share of the true label's photos", fontsize=9)
    colours.ax.xaxis.set_label_position("top")
    title = (
        f"{attribute}: {percent(np.trace(counts) / counts.sum())} of {counts.sum():,} photos on the diagonal"
    )
    if pairs:
        title += (
            f"; most often {plain(pairs[0].true)} is taken for {plain(pairs[0].given)} ({pairs[0].photos:,})"
        )
    axes.set_title(title, fontsize=12, loc="left", pad=10)
    return figure


def _number(axes: Axes, shares: npt.NDArray[np.float64], letters: float) -> None:
    for (true, given), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "white" if share > 0.4 else "black"
            axes.text(
                given, true, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=letters
            )


def _separate(axes: Axes, groups: Sequence[Group], size: int, letters: float) -> None:
    for number, group in enumerate(groups):
        if number:
            axes.axhline(group.first - 0.5, color=LIGHT, linewidth=0.8)
            axes.axvline(group.first - 0.5, color=LIGHT, linewidth=0.8)
        length = group.last - group.first
        corner = (group.first - 0.5, group.first - 0.5)
        axes.add_patch(Rectangle(corner, length, length, fill=False, edgecolor=BLACK, linewidth=1.2))
        edge = size - 0.5
        axes.plot(
            [edge + 0.5] * 2, [group.first - 0.35, group.last - 0.65], color=GREY, linewidth=2, clip_on=False
        )
        axes.text(
            edge + 1, (group.first + group.last - 1) / 2, plain(group.name), va="center", fontsize=letters
        )
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))


def _group_room(groups: Sequence[Group], letters: float) -> float:
    """Inches to the right of the matrix that the names of groups take."""
    if len(groups) == 1:
        return 0.4
    return 0.6 + max(len(plain(group.name)) for group in groups) * letters * 0.55 / 72


def _list_pairs(axes: Axes, pairs: Sequence[Pair], side: float, right: float) -> None:
    lines = ["Confused most", "", "photos  share  true → given"]
    room = max(3, int((side - 1) / LINE) - len(lines))
    lines += [
        f"{pair.photos:>6,}  {percent(pair.share):>5}  {plain(pair.true, 22)} → {plain(pair.given, 22)}"
        for pair in pairs[: min(room, 40)]
    ]
    if not pairs:
        lines.append("nothing was confused")
    axes.text(
        1 + right / side,
        1,
        "\n".join(lines),
        transform=axes.transAxes,
        va="top",
        family="monospace",
        fontsize=10,
    )
