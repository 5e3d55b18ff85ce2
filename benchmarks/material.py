"""What is measured with: a ViT-B/32 of random weights, and real photos in the sizes asked for.

Random weights cost what trained ones cost. No two photos have the same bytes: a catalogue embeds each content
once. All is drawn with fixed seeds.
"""

import json
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance

from fashion_clip.machine import usable_cores

LABELS = (
    "T-shirts", "Shirts", "Casual shoes", "Watches", "Handbags",
    "Jeans", "Sandals", "Dresses", "Belts", "Sunglasses",
)  # fmt: skip
LARGE, SMALL = (800, 1066), (60, 80)
END_OF_TEXT = 49407


def make_vit_b_32(folder: Path, shared: Path) -> Path:
    """A checkpoint of CLIP's ViT-B/32 in Hugging Face's form."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    config: Any = CLIPConfig()
    config.text_config.bos_token_id, config.text_config.eos_token_id = END_OF_TEXT - 1, END_OF_TEXT
    CLIPModel(config).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(shared / "data" / "tokenizer" / name, folder / name)
    settings = {"image_processor_type": "CLIPImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def flops_of(checkpoint: Path) -> float:
    """Of one picture through the image tower, whole: two for each multiplication of its matrices."""
    from transformers import CLIPConfig

    vision: Any = CLIPConfig.from_pretrained(checkpoint).vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    tokens, width = patches + 1, vision.hidden_size
    per_layer = tokens * (4 * width * width + 2 * width * vision.intermediate_size) + 2 * tokens**2 * width
    stem = patches * 3 * vision.patch_size**2 * width
    return float(2 * (vision.num_hidden_layers * per_layer + stem))


def write_taxonomy(file: Path) -> Path:
    """One attribute of LABELS."""
    labels = ", ".join(f'"{label}"' for label in LABELS)
    file.write_text(f'name = "ten"\n[attributes.kind]\nlabels = [{labels}]\n')
    return file


def parquet_photos(file: Path) -> list[bytes]:
    """The pictures of a Parquet file of ../shared, in its order."""
    from pyarrow import parquet

    return [row["bytes"] for row in parquet.read_table(file, columns=["image"])["image"].to_pylist()]


def write_photos(folder: Path, originals: list[bytes], size: tuple[int, int], count: int) -> Path:
    """`count` JPEGs of that size, each a crop of an original in a brightness of its own, on all cores."""
    folder.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        cores = usable_cores()
        parts = [(folder, originals, size, range(start, count, cores)) for start in range(cores)]
        list(pool.map(_write_part, parts))
    return folder


def _write_part(part: tuple[Path, list[bytes], tuple[int, int], range]) -> None:
    folder, originals, size, numbers = part
    for number, picture in zip(numbers, _variants(originals, size, numbers), strict=True):
        picture.save(folder / f"{number:07}.jpg", quality=90)


def _variants(originals: list[bytes], size: tuple[int, int], numbers: range) -> Iterator[Image.Image]:
    for number in numbers:
        draw = random.Random(number)
        with Image.open(BytesIO(originals[number % len(originals)])) as image:
            picture = image.convert("RGB")
        left, top = draw.uniform(0, 0.06) * picture.width, draw.uniform(0, 0.06) * picture.height
        box = (left, top, 0.94 * picture.width + left, 0.94 * picture.height + top)
        resized = picture.resize(size, Image.Resampling.BICUBIC, box)
        yield ImageEnhance.Brightness(resized).enhance(draw.uniform(0.85, 1.15))
