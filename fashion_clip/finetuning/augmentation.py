"""A photo, slightly otherwise each time: mirrored or not, and moved by a few pixels."""

import numpy as np
import numpy.typing as npt

# Of each side. Products fill their photos: cropped to half, as pretraining does, they show other things.
SHIFT = 1 / 16


def augmented(pixels: npt.NDArray[np.uint8], generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A photo, uint8 (height, width, 3), of the same size; what a shift bares repeats the edge's pixels."""
    rows, columns = (_shifted(size, generator) for size in pixels.shape[:2])
    if generator.random() < 0.5:
        columns = columns[::-1]
    return np.asarray(pixels[rows[:, None], columns[None, :]])


def _shifted(size: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    most = round(size * SHIFT)
    places: npt.NDArray[np.int64] = np.arange(size) + generator.integers(-most, most + 1)
    return places.clip(0, size - 1)
