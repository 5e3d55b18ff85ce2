"""Where photos lie among each other: a map of their vectors in two dimensions."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fashion_clip.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    LIGHT,
    ORANGE,
    PINK,
    RED,
    SKY,
    YELLOW,
    new_figure,
    percent,
    plain,
)

MOST = 2_000  # photos on a map
FEWEST = 10  # different photos that make one
COLOURS = (BLUE, ORANGE, GREEN, RED, SKY, PINK, YELLOW, BLACK)
MARKERS = "os^Dv<>P"
SEED = 0


def map_positions(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """float32 (n, 2): near where the vectors (n, dimension) are near; the same for the same vectors.

    Principal components, at most 50, then t-SNE (van der Maaten and Hinton, JMLR 9, 2008). Takes seconds, and
    of more than `MOST` vectors minutes.

    Raises:
        ValueError: fewer than `FEWEST` different vectors.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    different = len(np.unique(vectors, axis=0))
    if different < FEWEST:
        raise ValueError(f"{different} different vectors make no map, it takes {FEWEST}")
    components = min(50, *vectors.shape)
    reduced = PCA(components, random_state=SEED).fit_transform(vectors)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    with threadpool_limits(1):  # more threads wait for each other: four times as slow on a busy machine
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=SEED)
        found: npt.NDArray[np.float32] = tsne.fit_transform(reduced)
    return found


def embedding_map(attribute: str, positions: npt.NDArray[np.float32], labels: Sequence[str]) -> Figure:
    """The photos at their positions (n, 2), the most frequent of their labels in colours and the rest grey.

    The title tells how often a photo has the label of its nearest neighbour on the map.
    """
    figure = new_figure(9.4, 6)
    axes = figure.subplots()
    # Numbers for names: in comparisons with texts numpy drops NULs at their end.
    rank = {label: number for number, (label, _) in enumerate(Counter(labels).most_common())}
    told = np.array([rank[label] for label in labels])
    frequent = list(rank)[: len(COLOURS)]
    others = told >= len(frequent)
    if others.any():
        x, y = positions[others].T
        axes.scatter(x, y, s=7, color=LIGHT, label=f"other labels ({others.sum():,})")
    for number, label in enumerate(frequent):
        name, colour, marker = f"{plain(label)} ({labels.count(label):,})", COLOURS[number], MARKERS[number]
        x, y = positions[told == number].T
        axes.scatter(x, y, s=12, color=colour, marker=marker, linewidths=0, alpha=0.8, label=name)
    axes.set(xticks=[], yticks=[], xlabel="t-SNE, first dimension", ylabel="t-SNE, second dimension")
    _write_names(axes, [(label, _above(positions[told == number])) for number, label in enumerate(frequent)])
    axes.legend(bbox_to_anchor=(1.01, 1), loc="upper left", frameon=False, fontsize=9, markerscale=1.8)
    share = percent(_neighbours_alike(positions, told))
    axes.set_title(
        f"{plain(attribute)}: {share} of {len(labels):,} photos have their nearest neighbour's label"
    )
    return figure


def _above(positions: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Over the position that has the most others about it, and over these: a mean may be far from all."""
    distance = np.square(positions[:, None] - positions[None]).sum(axis=-1)
    near = distance <= np.median(distance) / 4
    middle = int(near.sum(axis=1).argmax())
    return float(positions[middle, 0]), float(positions[near[middle], 1].max())


def _write_names(axes: Axes, places: Sequence[tuple[str, tuple[float, float]]]) -> None:
    """Each name above its place, so that it hides no small group; higher where another one stands already."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    wide, high = (right - left) / 5, (top - bottom) / 22
    written: list[tuple[float, float]] = []
    for (label, (x, y)), colour in zip(places, COLOURS, strict=False):
        y += high / 2
        while any(abs(x - other_x) < wide and abs(y - other_y) < high for other_x, other_y in written):
            y += high
        written.append((x, y))
        box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour, "alpha": 0.85}
        axes.text(x, y, plain(label, 20), ha="center", va="bottom", fontsize=9, bbox=box)
    axes.set_ylim(bottom, max(top, *(y + high for _, y in written)))


def _neighbours_alike(positions: npt.NDArray[np.float32], labels: npt.NDArray[np.intp]) -> float:
    from sklearn.neighbors import NearestNeighbors

    neighbour = NearestNeighbors(n_neighbors=1).fit(positions).kneighbors(return_distance=False)[:, 0]
    return float((labels[neighbour] == labels).mean())
