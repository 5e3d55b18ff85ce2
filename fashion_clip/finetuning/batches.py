"""What a step shows to the towers; the same for the same seed, epoch and place, whatever came before."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fashion_clip.finetuning.augmentation import augmented
from fashion_clip.finetuning.captions import Sayings, draw_caption
from fashion_clip.finetuning.matching import Match, match_captions
from fashion_clip.finetuning.settings import TrainingPhotos

# A batch has so many captions of each photo. Most are the same texts as others', and short: they cost little
# beside the photo, and with one alone few of an attribute's labels would meet in a batch.
CAPTIONS = 4
_PIXELS = CAPTIONS  # the number of their draw, after those of the captions


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of b photos, of which this process shows m to the towers.

    pixels: uint8 (m, height, width, 3). texts: CAPTIONS of each of the m, in their order. match: of all b.
    """

    pixels: npt.NDArray[np.uint8]
    texts: tuple[str, ...]
    match: Match


def make_batch(
    photos: TrainingPhotos,
    sayings: Sayings,
    order: npt.NDArray[np.int64],
    places: range,
    share: slice,
    seed: tuple[int, int],
) -> Batch:
    """The photos at some places of an epoch's order.

    Args:
        share: which of them this process shows.
        seed: the run's seed and the number of the epoch.
    """
    rows = order[places.start : places.stop]
    captions = [
        draw_caption(sayings, row, np.random.default_rng((*seed, place, number)))
        for place, row in zip(places, rows, strict=True)
        for number in range(CAPTIONS)
    ]
    shown = [
        augmented(photos.pixels[row], np.random.default_rng((*seed, place, _PIXELS)))
        for place, row in zip(places[share], rows[share], strict=True)
    ]
    first, last, _ = share.indices(len(rows))
    texts = tuple(caption.text for caption in captions[first * CAPTIONS : last * CAPTIONS])
    return Batch(np.stack(shown), texts, match_captions(captions, sayings.truth[rows]))
