"""A batch hangs on nothing but the seed, the epoch and its places; photos change a little."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fashion_clip.finetuning.augmentation import augmented
from fashion_clip.finetuning.batches import CAPTIONS, Batch, make_batch
from fashion_clip.finetuning.captions import find_sayings
from tests.fashion_clip.finetuning.demo_pairs import DEMO, demo_photos

PHOTOS = demo_photos(slice(0, 40))
ORDER = np.arange(40)[::-1]


def batch(places: range, share: slice = slice(None), seed: tuple[int, int] = (1, 0)) -> Batch:
    return make_batch(PHOTOS, find_sayings(DEMO, PHOTOS, {}), ORDER, places, share, seed)


def shift_of(pixels: npt.NDArray[np.uint8], photo: npt.NDArray[np.uint8]) -> tuple[int, int, bool]:
    """How many pixels it was moved down and to the right, and whether it was mirrored before."""
    for mirrored in (False, True):
        source = photo[:, ::-1] if mirrored else photo
        for down in range(-2, 3):
            for right in range(-2, 3):
                rows, columns = (np.clip(np.arange(28) - by, 0, 27) for by in (down, right))
                if (source[rows[:, None], columns] == pixels).all():
                    return down, right, mirrored
    raise AssertionError("neither moved nor mirrored")


def test_photos_are_moved_and_mirrored() -> None:
    photo = PHOTOS.pixels[0]
    found = [shift_of(augmented(photo, np.random.default_rng(draw)), photo) for draw in range(300)]
    assert {down for down, _, _ in found} == {right for _, right, _ in found} == {-2, -1, 0, 1, 2}
    assert 0.4 < np.mean([mirrored for _, _, mirrored in found]) < 0.6


def test_a_place_is_the_same_in_any_batch() -> None:
    whole, part = batch(range(0, 40)), batch(range(10, 30))
    np.testing.assert_array_equal(whole.pixels[10:30], part.pixels)
    assert len(whole.texts) == 40 * CAPTIONS
    assert whole.texts[10 * CAPTIONS : 30 * CAPTIONS] == part.texts
    assert whole.texts[:CAPTIONS] != whole.texts[CAPTIONS : 2 * CAPTIONS]
    shift_of(whole.pixels[0], PHOTOS.pixels[39])  # as the order has it


def test_seed_and_epoch_change_captions_and_pixels() -> None:
    one = batch(range(0, 40))
    for other in (batch(range(0, 40), seed=(1, 1)), batch(range(0, 40), seed=(2, 0))):
        assert one.texts != other.texts
        assert (one.pixels != other.pixels).any()


def test_processes_share_a_batch() -> None:
    whole, first, second = (batch(range(8, 24), share) for share in (slice(None), slice(0, 8), slice(8, 16)))
    np.testing.assert_array_equal(whole.pixels, np.concatenate([first.pixels, second.pixels]))
    assert whole.texts == first.texts + second.texts
    for part in (first, second):
        np.testing.assert_array_equal(part.match.positive, whole.match.positive)
    texts = [whole.texts[place] for place in whole.match.first]
    assert sorted(set(whole.texts)) == texts


def test_a_memory_map_will_do(tmp_path: Path) -> None:
    path = tmp_path / "pixels"
    np.memmap(path, np.uint8, "w+", shape=PHOTOS.pixels.shape)[:] = PHOTOS.pixels
    mapped = np.memmap(path, np.uint8, "r", shape=PHOTOS.pixels.shape)
    changed = augmented(mapped[3], np.random.default_rng(0))
    assert type(changed) is np.ndarray
    np.testing.assert_array_equal(changed, augmented(PHOTOS.pixels[3], np.random.default_rng(0)))
