"""A contact sheet: thumbnails in a grid, each with a caption of a few short lines."""

from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

TILE = 112  # pixels of a thumbnail's side
LINE = 14
MARGIN = 8
COLUMNS = 6


def contact_sheet(tiles: Sequence[tuple[Image.Image, Sequence[str]]]) -> bytes:
    """A JPEG of all `tiles`, pairs of a picture and its caption lines, row by row.

    Raises:
        ValueError: no tiles.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one picture")
    caption = max(len(lines) for _, lines in tiles) * LINE
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    step_x, step_y = TILE + MARGIN, TILE + caption + MARGIN
    sheet = Image.new("RGB", (MARGIN + columns * step_x, MARGIN + rows * step_y), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    for position, (picture, lines) in enumerate(tiles):
        x = MARGIN + position % columns * step_x
        y = MARGIN + position // columns * step_y
        _paste_centred(sheet, picture, x, y)
        for number, line in enumerate(lines):
            draw.text((x, y + TILE + number * LINE), _fit(line, font), fill="black", font=font)
    out = BytesIO()
    sheet.save(out, "JPEG", quality=85)
    return out.getvalue()


def _paste_centred(sheet: Image.Image, picture: Image.Image, x: int, y: int) -> None:
    scale = TILE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    thumbnail = picture.resize(size, Image.Resampling.LANCZOS)
    sheet.paste(thumbnail, (x + (TILE - size[0]) // 2, y + (TILE - size[1]) // 2))


def _fit(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The line, cut with an ellipsis to the width of a thumbnail."""
    if font.getlength(line) <= TILE:
        return line
    while line and font.getlength(line + "…") > TILE:
        line = line[:-1]
    return line + "…"
