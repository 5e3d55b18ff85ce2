"""What judgement is measured on: real photos of one year as the stand-in model sees them, and their truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fashion_clip.calibrating import Truths
from fashion_clip.decode import Limits
from fashion_clip.encoder import ClipEncoder, load_encoder
from fashion_clip.errors import ImageError
from fashion_clip.labeller import Labeller
from fashion_clip.model import Model
from fashion_clip.predictions import NONE_OF_THEM
from fashion_clip.preprocessing import photo_pixels
from fashion_clip.taxonomy import Taxonomy, load_taxonomy

BATCH = 256
STRANGE = 200  # pictures that are no fashion

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Judged:
    """n photos, a product each: vectors (n, d) as a catalogue stores them, and the truth by attribute."""

    labeller: Labeller
    vectors: Vectors
    ids: tuple[str, ...]
    truth: dict[str, npt.NDArray[np.int64]]

    def truths(self, rows: npt.NDArray[np.intp]) -> dict[str, Truths]:
        """Of some of the photos, as drawn at random; what the data set leaves empty is left out."""
        found = {}
        for name, truth in self.truth.items():
            told = rows[truth[rows] != NONE_OF_THEM]
            ids = tuple(self.ids[row] for row in told)
            found[name] = Truths(self.vectors[told], truth[told], ids, np.ones(len(told)))
        return found


def judged_photos(shared: Path, *years: str) -> Judged:
    """Photos of some years, with the raw names of the labels as prompts."""
    from pyarrow import parquet

    table = parquet.read_table(shared / "data" / "fashion_products" / "small_60x80.parquet").to_pylist()
    rows = [row for row in table if row["year"] in years]
    encoder = stand_in(shared)
    taxonomy = raw_names(load_taxonomy("products"))
    truth = {attribute.name: _truth(taxonomy, attribute.name, rows) for attribute in taxonomy.attributes}
    vectors = embed(encoder, [row["image"]["bytes"] for row in rows])
    ids = tuple(row["id"] for row in rows)
    return Judged(Model(encoder).labeller(taxonomy), vectors, ids, truth)


def stand_in(shared: Path) -> ClipEncoder:
    """The small trained model."""
    return load_encoder(str(shared / "models" / "products-clip-tiny"))


def raw_names(taxonomy: Taxonomy) -> Taxonomy:
    """With the prompt that the small model was trained on: a label's name alone."""
    attributes = (replace(each, templates=("a photo of {label}",)) for each in taxonomy.attributes)
    return Taxonomy(taxonomy.name, tuple(attributes))


def _truth(taxonomy: Taxonomy, attribute: str, rows: Sequence[dict[str, Any]]) -> npt.NDArray[np.int64]:
    [labels] = [each.labels for each in taxonomy.attributes if each.name == attribute]
    place = {label.name: number for number, label in enumerate(labels)}
    return np.array([place.get(row[attribute], NONE_OF_THEM) for row in rows], dtype=np.int64)


def embed(encoder: ClipEncoder, photos: Sequence[bytes]) -> Vectors:
    """float32 (n, d), rounded to float16 on the way as a catalogue rounds them."""
    parts = []
    for start in range(0, len(photos), BATCH):
        pixels = [
            photo_pixels(data, encoder.preprocessing, Limits()) for data in photos[start : start + BATCH]
        ]
        parts.append(encoder.encode_pixels(np.stack(pixels)))
    return np.concatenate(parts).astype(np.float16).astype(np.float32)


def strange_photos(shared: Path, encoder: ClipEncoder) -> Vectors:
    """Vectors of STRANGE pictures that are no fashion: image libraries' tests, noise, pages of text."""
    draw = np.random.default_rng(0)
    photos = [_png(Image.fromarray(draw.integers(0, 256, (80, 60, 3), dtype=np.uint8))) for _ in range(40)]
    photos += [_png(_page(draw)) for _ in range(40)]
    for file in sorted((shared / "data" / "bad_images").rglob("*")):
        if len(photos) < STRANGE and file.is_file() and _decodes(file.read_bytes(), encoder):
            photos.append(file.read_bytes())
    return embed(encoder, photos)


def _page(draw: np.random.Generator) -> Image.Image:
    page = Image.new("RGB", (300, 400), "white")
    pen = ImageDraw.Draw(page)
    for top in range(10, 390, 14):
        pen.text((10, top), "".join(draw.choice(list("abcdefghij klmno pqrst"), 40)), fill="black")
    return page


def _png(picture: Image.Image) -> bytes:
    out = BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _decodes(data: bytes, encoder: ClipEncoder) -> bool:
    try:
        photo_pixels(data, encoder.preprocessing, Limits())
    except ImageError:
        return False
    return True
