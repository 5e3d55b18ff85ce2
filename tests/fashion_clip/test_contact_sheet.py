"""A contact sheet holds every picture in its place, whatever its shape, and captions as far as they fit."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashion_clip.contact_sheet import COLUMNS, LINE, MARGIN, TILE, contact_sheet

RED, BLUE = (220, 0, 0), (0, 0, 220)


def drawn(tiles: Sequence[tuple[Image.Image, Sequence[str]]]) -> np.ndarray:
    """The sheet's pixels, float (height, width, 3)."""
    sheet = contact_sheet(tiles)
    with Image.open(BytesIO(sheet)) as image:
        assert image.format == "JPEG"
        return np.asarray(image.convert("RGB")).astype(float)


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where the colour is, up to what JPEG does to it."""
    return np.asarray(np.abs(pixels - np.array(colour)).max(axis=-1) < 60)


def test_pictures_stand_row_by_row() -> None:
    tiles = [(Image.new("RGB", (28, 28), RED if n % 2 else BLUE), ("one", "two")) for n in range(COLUMNS + 2)]
    pixels = drawn(tiles)
    step_x, step_y = TILE + MARGIN, TILE + 2 * LINE + MARGIN
    assert pixels.shape == (MARGIN + 2 * step_y, MARGIN + COLUMNS * step_x, 3)
    for number in range(len(tiles)):
        y = MARGIN + number // COLUMNS * step_y + TILE // 2
        x = MARGIN + number % COLUMNS * step_x + TILE // 2
        assert near(pixels[y, x], RED if number % 2 else BLUE)
    empty = pixels[MARGIN + step_y :, MARGIN + 2 * step_x :]
    assert near(empty, (255, 255, 255)).all()


@pytest.mark.parametrize("size", [(28, 28), (1000, 500), (500, 1000), (1, 2000), (2000, 1), (1, 1)])
def test_a_picture_keeps_its_shape_and_stays_in_its_place(size: tuple[int, int]) -> None:
    pixels = drawn([(Image.new("RGB", size, RED), ())])
    assert pixels.shape == (TILE + 2 * MARGIN, TILE + 2 * MARGIN, 3)
    ys, xs = np.nonzero(near(pixels, RED) | (pixels[..., 1] < 128))
    longest = max(size)
    for found, side in ((ys, size[1]), (xs, size[0])):
        assert found.min() >= MARGIN - 1
        assert found.max() <= MARGIN + TILE
        assert found.max() - found.min() + 1 == pytest.approx(max(1, TILE * side / longest), abs=2)


def test_a_caption_is_written_below_and_cut_to_the_width() -> None:
    picture = Image.new("RGB", (28, 28), RED)
    blank = drawn([(picture, ("",))])
    written = drawn([(picture, ("short",))])
    long = drawn([(picture, ("W" * 300,))])
    caption = slice(MARGIN + TILE, MARGIN + TILE + LINE)
    assert blank[caption].min() > 200
    assert written[caption].min() < 100
    assert long.shape == written.shape
    inked = np.nonzero(long[caption].min(axis=(0, 2)) < 100)[0]
    assert inked.max() <= MARGIN + TILE
    assert inked.max() > TILE * 3 / 4


def test_the_tallest_caption_makes_the_room() -> None:
    picture = Image.new("RGB", (28, 28))
    assert drawn([(picture, ("a",)), (picture, ("a", "b", "c"))]).shape[0] == TILE + 3 * LINE + 2 * MARGIN


def test_no_pictures_are_no_sheet() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([])
