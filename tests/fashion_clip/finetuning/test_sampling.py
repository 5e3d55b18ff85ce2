"""Rare labels are drawn more often, each epoch otherwise, the same with the same seed."""

import numpy as np
import numpy.typing as npt
import pytest

from fashion_clip.finetuning.captions import find_sayings
from fashion_clip.finetuning.sampling import draw_weights, epoch_order
from fashion_clip.finetuning.settings import NOT_KNOWN
from tests.fashion_clip.finetuning.demo_pairs import DEMO, made_photos

COMMON, RARE, SINGLE = 900, 100, 1


def weights() -> npt.NDArray[np.float64]:
    labels = [0] * COMMON + [1] * RARE + [2] * SINGLE + [NOT_KNOWN] * 5 + [3] * 50
    return draw_weights(
        find_sayings(DEMO, made_photos({"articleType": labels}), {"articleType": frozenset({"Dresses"})})
    )


def test_weights_go_by_the_square_root_of_the_rarest_label() -> None:
    found = weights()
    common, rare, single = found[0], found[COMMON], found[COMMON + RARE]
    assert rare / common == pytest.approx(3)
    assert single / rare == pytest.approx(10**0.5)  # as if there were 10
    assert found[: COMMON + RARE + SINGLE].sum() == pytest.approx(COMMON + RARE + SINGLE)
    assert not found[COMMON + RARE + SINGLE :].any()  # nothing is known, or it is kept out


def test_the_rarest_of_several_labels_decides() -> None:
    photos = made_photos({"category": [0] * 100, "articleType": [0] * 75 + [1] * 25})
    found = draw_weights(find_sayings(DEMO, photos, {}))
    assert found[-1] / found[0] == pytest.approx(3**0.5)


def test_an_epoch_draws_what_was_expected() -> None:
    found = weights()
    order = epoch_order(found, 3, 0)
    drawn = np.bincount(order, minlength=len(found))
    assert len(order) == COMMON + RARE + SINGLE
    assert (np.abs(drawn - found) < 1).all()
    rare = (order >= COMMON) & (order < COMMON + RARE)
    assert 20 < np.flatnonzero(rare).std() / len(order) * 100 < 40  # mixed: 29 if evenly
    np.testing.assert_array_equal(order, epoch_order(found, 3, 0))
    assert (order != epoch_order(found, 3, 1)).any()
    assert (order != epoch_order(found, 4, 0)).any()
