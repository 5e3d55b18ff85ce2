"""The surest mistakes, in order, one a product, with true and given label."""

from io import BytesIO

import numpy as np
from PIL import Image

from fashion_clip.contact_sheet import COLUMNS, MARGIN, TILE
from fashion_clip.plots.mistakes import mistakes_sheet, names_of, surest_mistakes
from tests.fashion_clip.predictions_made_up import at_random, written_out


def test_the_surest_come_first_and_a_product_once() -> None:
    predictions = written_out(
        [0, 0, 0, 1, 1, -1], [1, 0, 1, 0, 2, 2], [0.3, 0.99, 0.8, 0.9, 0.7, 0.5], products=[1, 2, 3, 4, 4, 5]
    )
    assert surest_mistakes(predictions).tolist() == [3, 2, 5, 0]
    assert surest_mistakes(predictions, most=2).tolist() == [3, 2]
    assert names_of(predictions, 3) == ("b", "a")
    assert names_of(predictions, 5) == ("none of them", "c")


def test_the_sheet_holds_their_pictures() -> None:
    predictions = written_out([0, 0, 0], [1, 0, 2], [0.4, 0.9, 0.8])
    asked = []

    def thumbnails(photo: str) -> Image.Image:
        asked.append(photo)
        return Image.new("RGBA", (40, 60), "red" if photo == "photos/2.jpg" else "blue")

    sheet = mistakes_sheet(predictions, thumbnails)
    assert asked == ["photos/2.jpg", "photos/0.jpg"]
    assert sheet is not None
    with Image.open(BytesIO(sheet)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    red, blue = (pixels[MARGIN + TILE // 2, MARGIN + n * (TILE + MARGIN) + TILE // 2] for n in range(2))
    assert red[0] > 200 > 50 > red[2]
    assert blue[2] > 200 > 50 > blue[0]


def test_pictures_that_are_not_to_be_had_are_left_out() -> None:
    predictions = written_out([0] * 8, [1] * 8, [0.5] * 8)
    half = mistakes_sheet(predictions, lambda photo: Image.new("L", (9, 9)) if int(photo[7]) % 2 else None)
    assert half is not None
    with Image.open(BytesIO(half)) as image:
        assert image.width == MARGIN + 4 * (TILE + MARGIN)
        assert COLUMNS > 4
    assert mistakes_sheet(predictions, lambda _: None) is None
    assert mistakes_sheet(written_out([0], [0], [0.9]), lambda _: Image.new("L", (9, 9))) is None


def test_hostile_names_are_written() -> None:
    names = ["<script>", "two\nlines\x00", "w" * 500, "\u202egnp.exe"]
    assert mistakes_sheet(at_random(names, 40, right=0.2), lambda _: Image.new("P", (1, 900)))
