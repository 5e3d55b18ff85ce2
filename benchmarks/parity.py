"""How near are ClipEncoder's embeddings to those of transformers' CLIPModel and CLIPProcessor?

    python -m benchmarks.parity PHOTOS --model DIR [--count N]

PHOTOS is a folder of pictures or a Parquet file with a column `image` of {bytes, path}, as Hugging Face data
sets have it. Some of them are embedded both ways from their bytes, in float32 by torch and decoded exactly;
so are pictures of odd sizes and modes made from the first, and a few texts. Prints the least and the mean
cosine of each group and fails below 0.99999.

transformers opens the same bytes with Pillow alone. Where decode_image differs from that on purpose
(transparency is laid on white, 16 bits are scaled and not clipped, EXIF orientation is applied), transformers
is given the decoded RGB picture; those groups are marked *.
"""

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from logging import ERROR
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from fashion_clip.decode import decode_image
from fashion_clip.encoder import ClipEncoder, load_encoder

REQUIRED = 0.99999
PROMPTS = ("a photo of a dress", "a product photo of men's casual shoes, navy blue", "", "shirt " * 100)
SIZES = ((1, 1), (1, 500), (500, 1), (37, 501), (223, 225), (224, 224), (640, 427), (1200, 1801))


def main() -> int:
    parser = argparse.ArgumentParser(description="cosines of ClipEncoder with transformers")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--count", type=int, default=64)
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model, "cpu", "torch", "float32", "exact")
    theirs = transformers_embedder(arguments.model)
    photos = read_photos(arguments.photos, arguments.count)
    worst = report(f"{len(photos)} photos", *both(encoder, theirs, photos, False))
    for name, picture, decoded in odd_pictures(decode_image(photos[0])):
        vectors = both(encoder, theirs, [picture], decoded)
        worst = min(worst, report(f"{name}{' *' if decoded else ''}", *vectors))
    worst = min(worst, report("texts", encoder.encode_texts(PROMPTS), theirs.texts(PROMPTS)))
    return 0 if worst >= REQUIRED else 1


class TransformersEmbedder:
    """CLIPModel and CLIPProcessor as their documentation uses them; embeddings are not normalised."""

    def __init__(self, model: Any, processor: Any):
        self.model = model
        self.processor = processor

    def images(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        # One by one: the processor cannot take pictures of several modes at once.
        inputs = [self.processor(images=image, return_tensors="pt") for image in images]
        with torch.inference_mode():
            rows = [self.model.get_image_features(**one).pooler_output for one in inputs]
        return np.asarray(torch.cat(rows))

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        inputs = self.processor(
            text=list(texts), padding=True, truncation=True, max_length=77, return_tensors="pt"
        )
        with torch.inference_mode():
            return np.asarray(self.model.get_text_features(**inputs).pooler_output)


def transformers_embedder(model: str) -> TransformersEmbedder:
    from transformers import CLIPModel, CLIPProcessor
    from transformers.utils import logging

    logging.set_verbosity(ERROR)
    loaded: Any = CLIPModel.from_pretrained(model, use_safetensors=True, dtype=torch.float32)
    return TransformersEmbedder(loaded.train(False), CLIPProcessor.from_pretrained(model))


def read_photos(source: Path, count: int) -> list[bytes]:
    """`count` photos, evenly spaced over a folder or Parquet file."""
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.is_file())
        return [files[n].read_bytes() for n in spaced(len(files), count)]
    from pyarrow import parquet

    column = parquet.read_table(source, columns=["image"])["image"]
    return [column[n].as_py()["bytes"] for n in spaced(len(column), count)]


def spaced(available: int, wanted: int) -> list[int]:
    return [int(n) for n in np.unique(np.linspace(0, available - 1, wanted).round())]


def odd_pictures(photo: Image.Image) -> list[tuple[str, bytes, bool]]:
    """Files made from one photo: (name, bytes, whether transformers is given the decoded picture)."""
    rgba = photo.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(photo.size))
    sixteen = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        *((f"{size[0]} x {size[1]}", encoded(photo.resize(size)), False) for size in SIZES),
        ("grey (L)", encoded(photo.convert("L")), False),
        ("palette (P)", encoded(photo.quantize(32)), False),
        ("black and white (1)", encoded(photo.convert("1")), False),
        ("CMYK JPEG", encoded(photo.convert("CMYK"), "JPEG"), False),
        ("WEBP", encoded(photo, "WEBP"), False),
        ("transparency (RGBA)", encoded(rgba), True),
        ("transparency (LA)", encoded(rgba.convert("LA")), True),
        ("16 bits (I;16)", encoded(sixteen), True),
        ("EXIF orientation 6", encoded(photo, "JPEG", exif=turned), True),
    ]


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def both(
    encoder: ClipEncoder, theirs: TransformersEmbedder, files: Sequence[bytes], decoded: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    ours = [decode_image(data) for data in files]
    given = ours if decoded else [Image.open(BytesIO(data)) for data in files]
    return encoder.encode_images(ours), theirs.images(given)


def report(name: str, ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    cosines = np.einsum(
        "nd,nd->n", ours.astype(np.float64), theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    )
    print(f"{name:<24}{len(cosines):>4}  min {cosines.min():.7f}  mean {cosines.mean():.7f}")
    return float(cosines.min())


if __name__ == "__main__":
    sys.exit(main())
