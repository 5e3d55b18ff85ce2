"""Which photos an epoch draws: those of rare labels more often."""

import numpy as np
import numpy.typing as npt

from fashion_clip.finetuning.captions import Sayings

# The expected draws of a photo go by its rarest label's count to this power: the square root of Mahajan et
# al., "Exploring the Limits of Weakly Supervised Pretraining", ECCV 2018, with the rarest label deciding, as
# in the repeat factors of Gupta et al., "LVIS", CVPR 2019.
POWER = -0.5
# Labels of fewer photos count as so many: a single photo would be drawn until it is known by heart.
LEAST = 10


def draw_weights(sayings: Sayings) -> npt.NDArray[np.float64]:
    """float64 (n,): the expected draws of each photo in an epoch, 0 where nothing may be said.

    They add up to the number of the other photos. Labels that may not be said do not count as rare ones.
    """
    rarest = np.full(len(sayings.truth), np.inf)
    for column in range(len(sayings.attributes)):
        sayable = sayings.sayable[:, column]
        labels = sayings.truth[sayable, column]
        rarest[sayable] = np.minimum(rarest[sayable], np.bincount(labels)[labels])
    # A photo of which only the name is known is one of many.
    counts = np.maximum(np.where(np.isfinite(rarest), rarest, len(rarest)), LEAST)
    weights = np.where(sayings.sayable.any(axis=1), counts**POWER, 0.0)
    total = weights.sum()
    return weights * (np.count_nonzero(weights) / total) if total else weights


def epoch_order(weights: npt.NDArray[np.float64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """int64 (draws,): the photos of an epoch in the order of their draws, as many as have a weight above 0.

    Systematic sampling: a photo of weight 2.3 is drawn two or three times, never none.
    """
    generator = np.random.default_rng((seed, epoch))
    ends = np.cumsum(weights)
    draws = np.count_nonzero(weights)
    places = (np.arange(draws) + generator.random()) * (ends[-1] / draws)
    return generator.permutation(np.searchsorted(ends, places, side="right"))
