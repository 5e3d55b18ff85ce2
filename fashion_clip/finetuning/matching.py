"""Which captions of a batch are true of which of its photos, and against which others each is told apart.

With 60 photos of 128 "Apparel", plain contrastive learning would push 59 of them away from a caption that is
true of them. Here truth says what belongs together, as in Yang et al., "Unified Contrastive Learning in
Image-Text-Label Space" (UniCL), CVPR 2022; pairs of which it does not know take no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fashion_clip.finetuning.captions import ANY, Caption
from fashion_clip.finetuning.settings import NOT_KNOWN


@dataclass(frozen=True, eq=False)
class Match:
    """b photos against the u different texts of their captions.

    positive: bool (b, u), the text is true of the photo; one at least in every row and every column.
    counted: bool (b, u), it is known whether it is true.
    first: int64 (u,), the caption that brings each text first.
    kinds: int64 (u,), equal where two texts answer the same question: of one attribute, joined, or names.
    """

    positive: npt.NDArray[np.bool_]
    counted: npt.NDArray[np.bool_]
    first: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]


def match_captions(captions: Sequence[Caption], truth: npt.NDArray[np.int64]) -> Match:
    """Compare c captions with the truth of the photos they were drawn of, int64 (b, columns) as in Sayings.

    A text that stands for several things, such as a label of two attributes, is true where one of them is.
    """
    demands = np.array([caption.demands for caption in captions], dtype=np.int64)
    true = np.ones((len(truth), len(demands)), dtype=bool)
    false = np.zeros_like(true)
    for has, wanted in zip(truth.T, demands.T, strict=True):
        met = (wanted == ANY) | (has[:, None] == wanted)
        true &= met
        false |= ~met & (has[:, None] != NOT_KNOWN)
    _, first, text = np.unique([caption.text for caption in captions], return_index=True, return_inverse=True)
    by_text = np.argsort(text, kind="stable")
    starts = np.searchsorted(text[by_text], np.arange(len(first)))
    positive = np.logical_or.reduceat(true[:, by_text], starts, axis=1)
    denied = np.logical_and.reduceat(false[:, by_text], starts, axis=1)
    asked = demands[first] != ANY
    kinds = np.where(asked.sum(axis=1) > 1, asked.shape[1], asked.argmax(axis=1))
    return Match(positive, positive | denied, first, kinds)
