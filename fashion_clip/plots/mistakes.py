"""The mistakes that a model is surest of, as pictures: often the truth is what is wrong."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from fashion_clip.contact_sheet import contact_sheet
from fashion_clip.plots.style import shown
from fashion_clip.predictions import NONE_OF_THEM, Predictions

MOST = 24
NONE = "none of them"


def surest_mistakes(predictions: Predictions, most: int = MOST) -> npt.NDArray[np.intp]:
    """The rows of wrong labels, the highest confidence first, one for each product."""
    wrong = np.flatnonzero(~predictions.hits)
    wrong = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")]
    _, first = np.unique(predictions.products[wrong], return_index=True)
    return wrong[np.sort(first)][:most]


def mistakes_sheet(predictions: Predictions, thumbnails: Callable[[str], Image.Image | None]) -> bytes | None:
    """A JPEG of the surest mistakes with true and given label; None where there is no mistake or no picture.

    Args:
        thumbnails: photo -> its picture, or None where there is none to be had.
    """
    tiles = []
    for row in surest_mistakes(predictions):
        picture = thumbnails(predictions.photos[row])
        if picture is not None:
            true, given = names_of(predictions, int(row))
            lines = (
                f"is: {shown(true)}",
                f"said: {shown(given)}",
                f"sure: {predictions.confidence[row]:.2f}",
            )
            tiles.append((picture.convert("RGB"), lines))
    return contact_sheet(tiles) if tiles else None


def names_of(predictions: Predictions, row: int) -> tuple[str, str]:
    """The true and the given label of one photo."""
    true = int(predictions.truth[row])
    given = predictions.labels[int(predictions.top.index[row, 0])]
    return (NONE if true == NONE_OF_THEM else predictions.labels[true]), given
