"""The map keeps neighbours, says the same twice, and colours the most frequent labels."""

import numpy as np
import numpy.typing as npt
import pytest

from fashion_clip.plots.embedding_map import COLOURS, FEWEST, embedding_map, map_positions
from fashion_clip.plots.style import to_png


def clusters(number: int, of_each: int) -> npt.NDArray[np.float32]:
    """Unit vectors about `number` far places."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(np.eye(number, 64), of_each, axis=0) + 0.05 * rng.normal(size=(number * of_each, 64))
    unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def test_neighbours_stay_neighbours_and_twice_is_the_same() -> None:
    vectors, labels = clusters(3, 20), [f"label {number // 20}" for number in range(60)]
    positions = map_positions(vectors)
    assert positions.shape == (60, 2)
    np.testing.assert_array_equal(positions, map_positions(vectors))
    figure = embedding_map("kind", positions, labels)
    assert figure.axes[0].get_title() == "kind: 100 % of 60 photos have their nearest neighbour's label"


@pytest.mark.parametrize("vectors", [np.ones((40, 8), np.float32), np.eye(FEWEST - 1, dtype=np.float32)])
def test_too_few_different_vectors_make_no_map(vectors: npt.NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="different vectors"):
        map_positions(vectors)


def test_few_vectors_and_few_dimensions_make_one() -> None:
    rng = np.random.default_rng(0)
    for shape in ((FEWEST, 2), (FEWEST, 512), (30, 3)):
        assert np.isfinite(map_positions(rng.normal(size=shape).astype(np.float32))).all()


def test_the_most_frequent_labels_have_colours_and_the_rest_is_grey() -> None:
    rng = np.random.default_rng(0)
    labels = [f"label {number}" for number in range(12) for _ in range(2 * (12 - number))]
    figure = embedding_map("kind", rng.normal(size=(len(labels), 2)).astype(np.float32), labels)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    rest = sum(2 * (12 - number) for number in range(len(COLOURS), 12))
    assert [text.get_text() for text in legend.get_texts()] == [
        f"other labels ({rest})",
        *(f"label {number} ({2 * (12 - number)})" for number in range(len(COLOURS))),
    ]
    drawn = [len(np.asarray(points.get_offsets())) for points in figure.axes[0].collections]
    assert drawn == [rest, *(2 * (12 - number) for number in range(len(COLOURS)))]
    written = [text.get_position() for text in figure.axes[0].texts]
    assert len({tuple(np.round(place, 3)) for place in written}) == len(COLOURS)


def test_hostile_names_are_drawn() -> None:
    rng = np.random.default_rng(0)
    labels = ["<script>", "$x$", "_hidden", "\n\x00", "w" * 500] * 4
    figure = embedding_map("$\\evil{$", rng.normal(size=(20, 2)).astype(np.float32), labels)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 5
    assert to_png(figure).startswith(b"\x89PNG")
