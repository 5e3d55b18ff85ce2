"""The demo's photos as training photos, some as negatives, which the demo model does not know."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from fashion_clip.demo import PHOTOS_DIR, truth
from fashion_clip.finetuning.settings import TrainingPhotos
from fashion_clip.taxonomy import Attribute, load_taxonomy

DEMO = load_taxonomy("demo")


def demo_photos(rows: slice, negative: bool = False) -> TrainingPhotos:
    """Some of the 300 photos, mixed, with the truth of both attributes and no names."""
    files = sorted(truth().items())
    chosen = [files[place] for place in np.random.default_rng(0).permutation(len(files))[rows]]
    pixels = np.stack([np.asarray(Image.open(PHOTOS_DIR / file).convert("RGB")) for file, _ in chosen])
    columns = {
        attribute.name: _numbers(attribute, [labels[attribute.name] for _, labels in chosen])
        for attribute in DEMO.attributes
    }
    return TrainingPhotos(255 - pixels if negative else pixels, columns, ("",) * len(chosen))


def made_photos(labels: Mapping[str, list[int]], names: tuple[str, ...] = ()) -> TrainingPhotos:
    """Black photos of 4 x 4 pixels with some truth."""
    size = len(next(iter(labels.values())))
    columns = {name: np.array(column, dtype=np.int64) for name, column in labels.items()}
    return TrainingPhotos(np.zeros((size, 4, 4, 3), dtype=np.uint8), columns, names or ("",) * size)


def _numbers(attribute: Attribute, labels: list[str]) -> npt.NDArray[np.int64]:
    names = [label.name for label in attribute.labels]
    return np.array([names.index(label) for label in labels], dtype=np.int64)
