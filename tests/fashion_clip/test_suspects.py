"""Wrong truth is found, most of it and first, and right truth is mostly left in peace."""

import numpy as np
import numpy.typing as npt
import pytest

from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.scoring import log_softmax
from fashion_clip.suspects import suspects
from tests.fashion_clip.made_truth import TRUE_SCALE, drawn, shop_labeller, vectors_of_photos

N = 3_000
FLIPPED = 0.08

Probabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def shop() -> tuple[Probabilities, Labels]:
    """What a model knows of the kinds of photos, and the kinds that are drawn from just that."""
    cosines = vectors_of_photos(N, seed=1) @ shop_labeller().head("kind").weights.T
    logits = cosines * np.float32(2 * TRUE_SCALE)
    truth = drawn(logits, np.random.default_rng(2)).astype(np.int64)
    return np.exp(log_softmax(logits)).astype(np.float64), truth


def flipped(truth: Labels, labels: int) -> tuple[Labels, npt.NDArray[np.bool_]]:
    """The truth with another label drawn for the share FLIPPED of the photos, and which they are."""
    draw = np.random.default_rng(3)
    wrong = draw.random(len(truth)) < FLIPPED
    other = (truth + draw.integers(1, labels, len(truth))) % labels
    return np.where(wrong, other, truth), wrong


def test_most_flips_are_found_and_few_others(shop: tuple[Probabilities, Labels]) -> None:
    probabilities, truth = shop
    given, wrong = flipped(truth, probabilities.shape[1])
    found = suspects(probabilities, given)
    assert wrong[found].sum() / wrong.sum() > 0.8
    assert wrong[found].mean() > 0.5
    first = found[: wrong.sum() // 2]
    assert wrong[first].mean() > 0.9  # whoever has little time looks at these


def test_of_right_truth_little_is_doubted(shop: tuple[Probabilities, Labels]) -> None:
    probabilities, truth = shop
    assert len(suspects(probabilities, truth)) < 0.1 * N


def test_a_label_of_which_the_model_is_never_sure_is_not_doubted_as_a_whole() -> None:
    probabilities = np.array([[0.9, 0.1]] * 50 + [[0.6, 0.4]] * 50)
    truth = np.repeat([0, 1], 50)
    assert len(suspects(probabilities, truth)) == 0
    truth[0] = 1  # of which it is as sure as of any other of label 0
    assert suspects(probabilities, truth).tolist() == [0]


def test_the_worst_come_first() -> None:
    probabilities = np.array([[0.9, 0.1]] * 20 + [[0.1, 0.9]] * 20)
    probabilities[3], probabilities[7], probabilities[25] = (0.02, 0.98), (0.05, 0.95), (0.99, 0.01)
    truth = np.repeat([0, 1], 20)
    assert suspects(probabilities, truth).tolist() == [25, 3, 7]


def test_what_has_none_of_the_labels_is_no_suspect() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.95, 0.05]])
    assert suspects(probabilities, np.array([0, NONE_OF_THEM, 1, 1])).tolist() == [3]
    assert len(suspects(probabilities, np.full(4, NONE_OF_THEM))) == 0
    assert len(suspects(np.empty((0, 2)), np.empty(0, dtype=np.int64))) == 0


def test_a_label_that_nobody_gave_makes_no_suspects() -> None:
    probabilities = np.array([[0.4, 0.1, 0.5]] * 5 + [[0.1, 0.4, 0.5]] * 5)
    assert len(suspects(probabilities, np.repeat([0, 1], 5))) == 0
    assert len(suspects(np.ones((4, 1)), np.zeros(4, dtype=np.int64))) == 0
