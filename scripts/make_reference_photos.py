"""Makes fashion_clip/reference_photos from the demo's pictures: python -m scripts.make_reference_photos

Each takes another way through decoder and preprocessing: a large JPEG, which may be decoded at a part of its
size, one on its side with its chroma at half the resolution, and a small PNG. Made once: other bytes would be
other photos, to which no catalogue could compare.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fashion_clip.demo import PHOTOS_DIR
from fashion_clip.reference_photos import FOLDER

BACKGROUNDS = ((236, 233, 228), (188, 60, 52), (38, 66, 120), (74, 122, 80))


def main() -> None:
    """Writes the three files."""
    pictures = [Image.open(path).convert("L") for path in sorted(PHOTOS_DIR.glob("*.png"))]
    turned = Image.Exif()
    turned[0x0112] = 6
    _save(_collage(pictures[:12], columns=3, edge=280), "large.jpg", quality=88, subsampling=0)
    _save(_collage(pictures[20:26], columns=3, edge=211), "turned.jpg", quality=80, exif=turned)
    _save(_collage(pictures[40:44], columns=2, edge=40), "small.png", optimize=True)


def _collage(pictures: list[Image.Image], columns: int, edge: int) -> Image.Image:
    """The pictures as garments of white to the background's colour, `edge` pixels wide each."""
    rows = -(-len(pictures) // columns)
    collage = Image.new("RGB", (columns * edge, rows * edge))
    for number, picture in enumerate(pictures):
        grown = np.asarray(picture.resize((edge, edge), Image.Resampling.BICUBIC), dtype=np.float64) / 255
        colour = np.array(BACKGROUNDS[number % len(BACKGROUNDS)], dtype=np.float64)
        mixed = grown[..., None] * 255 + (1 - grown[..., None]) * colour
        tile = Image.fromarray(mixed.round().astype(np.uint8))
        collage.paste(tile, (number % columns * edge, number // columns * edge))
    return collage


def _save(picture: Image.Image, name: str, **options: Any) -> None:
    path: Path = FOLDER / name
    picture.save(path, **options)
    print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
