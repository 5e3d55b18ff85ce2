"""The confusion matrix holds the right numbers in a useful order, at any size."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fashion_clip.plots.confusion import NUMBERED, Pair, confusion_matrix, worst_pairs
from fashion_clip.plots.style import to_png
from fashion_clip.predictions import Predictions
from fashion_clip.taxonomy import load_taxonomy
from tests.fashion_clip.predictions_made_up import at_random, written_out

ARTICLES = next(
    attribute for attribute in load_taxonomy("products").attributes if attribute.name == "articleType"
)
PARENTS = {label.name: label.parents[0] for label in ARTICLES.labels}


def drawn(figure: Figure) -> tuple[Axes, npt.NDArray[np.float64], list[str], list[str]]:
    """The axes, the shares, and the names at rows and columns."""
    axes = figure.axes[0]
    shares = np.asarray(axes.images[0].get_array())
    rows = [text.get_text().rsplit("  ", 1)[0] for text in axes.get_yticklabels()]
    return axes, shares, rows, [text.get_text() for text in axes.get_xticklabels()]


def texts(axes: Axes) -> str:
    return "\n".join(text.get_text() for text in axes.texts)


def shares_by_name(predictions: Predictions) -> dict[tuple[str, str], float]:
    given_ = predictions.top.index[:, 0]
    found = {}
    for true in set(predictions.truth) - {-1}:
        rows = predictions.truth == true
        for label in set(given_[rows]):
            cell = predictions.labels[true], predictions.labels[label]
            found[cell] = float((given_[rows] == label).mean())
    return found


@pytest.mark.parametrize("size", [2, 7, 45, 143])
def test_cells_are_shares_of_the_true_label(size: int) -> None:
    names = [label.name for label in ARTICLES.labels[:size]]
    predictions = at_random(names, 8 * size)
    axes, shares, rows, columns = drawn(confusion_matrix(predictions, PARENTS))
    assert columns == rows * (1 if size <= NUMBERED else 2)  # below, and above where it is far
    assert sorted(rows) == sorted(names)
    found = {(rows[true], rows[label]): float(shares[true, label]) for true, label in np.argwhere(shares > 0)}
    assert found == pytest.approx(shares_by_name(predictions))
    of_row = [text.get_text().rsplit("  ", 1)[1] for text in axes.get_yticklabels()]
    assert [int(photos) for photos in of_row] == [
        int((predictions.truth == predictions.labels.index(name)).sum()) for name in rows
    ]
    in_cells = [text for text in axes.texts if text.get_text().isdigit()]
    assert bool(in_cells) == (size <= NUMBERED)


def test_labels_of_one_parent_stand_together_under_its_name() -> None:
    predictions = at_random([label.name for label in ARTICLES.labels], 2_000)
    axes, _, rows, _ = drawn(confusion_matrix(predictions, PARENTS))
    order = [PARENTS[name] for name in rows]
    groups = [order[0], *(now for before, now in pairwise(order) if now != before)]
    assert len(groups) == len(set(groups)) == len(set(PARENTS.values()))
    written = {text.get_text(): text.get_position()[1] for text in axes.texts}
    for group in groups:
        places = [number for number, name in enumerate(order) if name == group]
        assert written[group] == pytest.approx(np.mean(places))


def test_letters_are_large_enough_to_read() -> None:
    """At 143 labels a row is higher than its name, and the name at least 7 points."""
    figure = confusion_matrix(at_random([label.name for label in ARTICLES.labels], 2_000), PARENTS)
    axes = figure.axes[0]
    size = float(axes.get_yticklabels()[0].get_fontsize())
    row = figure.get_figheight() * axes.get_position().height * 72 / 143
    assert 7 <= size <= row


def test_labels_that_are_confused_are_neighbours() -> None:
    """Of six labels three pairs are taken for each other; in the taxonomy's order none are neighbours."""
    truth = np.repeat(np.arange(6), 10)
    partner = np.array([3, 4, 5, 0, 1, 2])
    given_ = np.where(np.arange(60) % 10 < 4, partner[truth], truth)
    predictions = written_out(truth.tolist(), given_.tolist(), [0.5] * 60, "abcdef")
    _, _, rows, _ = drawn(confusion_matrix(predictions))
    for one, other in ("ad", "be", "cf"):
        assert abs(rows.index(one) - rows.index(other)) == 1


def test_labels_that_do_not_occur_are_left_out_and_given_ones_kept() -> None:
    predictions = written_out([0, 0, 1], [0, 3, 1], [0.5] * 3, "abcde")
    _, shares, rows, _ = drawn(confusion_matrix(predictions))
    assert sorted(rows) == ["a", "b", "d"]
    assert not shares[rows.index("d")].any()


def test_the_worst_pairs_are_listed_and_the_worst_is_in_the_title() -> None:
    predictions = written_out([0, 0, 0, 0, 1, 1], [0, 1, 1, 2, 1, 0], [0.5] * 6)
    axes, _, _, _ = drawn(confusion_matrix(predictions))
    assert "most often a is taken for b (2)" in axes.get_title(loc="left")
    assert "33 % of 6 photos" in axes.get_title(loc="left")
    lines = texts(axes).splitlines()
    assert any(line.split() == ["2", "50", "%", "a", "→", "b"] for line in lines)
    counts = np.array([[1, 2, 1], [1, 1, 0], [0, 0, 0]])
    assert worst_pairs("abc", counts) == [
        Pair("a", "b", 2, 0.5),
        Pair("b", "a", 1, 0.5),
        Pair("a", "c", 1, 0.25),
    ]


def test_no_mistakes_are_said() -> None:
    axes, _, _, _ = drawn(confusion_matrix(written_out([0, 1], [0, 1], [0.5] * 2)))
    assert "nothing was confused" in texts(axes)
    assert axes.get_title(loc="left") == "kind: 100 % of 2 photos on the diagonal"


def test_labels_without_a_parent_stand_last() -> None:
    predictions = written_out([0, 1, 2], [0, 1, 2], [0.5] * 3)
    _, _, rows, _ = drawn(confusion_matrix(predictions, {"b": "x", "c": "x"}))
    assert rows[-1] == "a"


def test_without_a_known_label_there_is_no_matrix() -> None:
    with pytest.raises(ValueError, match="no photo of 'kind'"):
        confusion_matrix(written_out([-1], [0], [0.5]))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=6, unique=True))
def test_any_names_can_be_drawn(names: list[str]) -> None:
    picture = to_png(confusion_matrix(at_random(names, 40), {names[0]: names[1]}))
    assert picture.startswith(b"\x89PNG")
