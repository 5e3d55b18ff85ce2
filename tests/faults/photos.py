"""Folders of small pictures, each with bytes of its own, some twice and some broken."""

import random
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from fashion_clip.demo import PHOTOS_DIR

NOISE = 12  # levels of grey that make each picture another one


@dataclass(frozen=True)
class Made:
    """How many photos there are, of how many contents, and how many are no picture."""

    photos: int
    contents: int
    broken: int


def make_photos(folder: Path, count: int, seed: int = 0) -> Made:
    """`count` photos: of a hundred, five have the bytes of the one before and two are no picture."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [np.asarray(Image.open(file).convert("L")) for file in sorted(PHOTOS_DIR.glob("*.png"))]
    draw = np.random.default_rng(seed)
    broken = contents = 0
    data = b""
    for number in range(count):
        if number % 50 == 49:
            broken += 1
            bytes_ = f"no picture, number {number}".encode()
        else:
            if number % 20 != 19 or not data:
                data = _png(pictures[number % len(pictures)], draw)
                contents += 1
            bytes_ = data
        (folder / f"{number:06}.png").write_bytes(bytes_)
    return Made(count, contents, broken)


def changed(folder: Path, names: list[str], seed: int) -> None:
    """Gives the photos of those names other bytes, all at once for whoever looks."""
    draw = np.random.default_rng(seed)
    pictures = sorted(PHOTOS_DIR.glob("*.png"))
    for name in names:
        picture = np.asarray(Image.open(random.Random(name + str(seed)).choice(pictures)).convert("L"))
        part = folder / f".{name}.part"
        part.write_bytes(_png(picture, draw))
        part.replace(folder / name)


def _png(picture: np.ndarray, draw: np.random.Generator) -> bytes:
    noisy = picture.astype(np.int16) + draw.integers(-NOISE, NOISE + 1, picture.shape)
    out = BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()
