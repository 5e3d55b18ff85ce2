"""How well a model labels photos by prompts alone, the labels that were kept out of its captions apart."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fashion_clip.checkpoint import Checkpoint
from fashion_clip.encoder import ClipEncoder
from fashion_clip.errors import UsageError
from fashion_clip.finetuning.history import ZeroShot
from fashion_clip.finetuning.settings import TrainingPhotos
from fashion_clip.runtimes import best_precision
from fashion_clip.scoring import Head, zero_shot_heads
from fashion_clip.taxonomy import Taxonomy

if TYPE_CHECKING:
    from transformers import CLIPModel

_AT_ONCE = 1024  # photos; of a memory map so many are read into memory


def measure_zero_shot(
    model: "CLIPModel",
    checkpoint: Checkpoint,
    taxonomy: Taxonomy,
    photos: TrainingPhotos,
    kept_out: Mapping[str, frozenset[str]],
    device: str,
) -> ZeroShot:
    """Figures of a model with a checkpoint's tokenizer, in the precision that tagging would take.

    Raises:
        UsageError: no photo has a known label that is not kept out.
    """
    encoder = ClipEncoder(replace(checkpoint, model=model), device, "torch", best_precision(device), "exact")
    heads = zero_shot_heads(encoder, taxonomy)
    vectors = np.concatenate(
        [
            encoder.encode_pixels(photos.pixels[start : start + _AT_ONCE])
            for start in range(0, len(photos.names), _AT_ONCE)
        ]
    )
    accuracy: dict[str, float] = {}
    right = asked = 0
    for head in heads:
        truth = photos.column(head.attribute)
        out = np.array([label in kept_out.get(head.attribute, frozenset()) for label in head.labels])
        of_out = (truth >= 0) & out[np.maximum(truth, 0)]
        known = (truth >= 0) & ~of_out
        if known.any():
            hits = _nearest(head, vectors[known], np.arange(len(out))) == truth[known]
            accuracy[head.attribute] = float(hits.mean())
        if out.sum() > 1:  # among one label there is nothing to choose
            right += int((_nearest(head, vectors[of_out], np.flatnonzero(out)) == truth[of_out]).sum())
            asked += int(of_out.sum())
    if not accuracy:
        raise UsageError(
            "validation has no photo with a known label; give it some, such as some of training's"
        )
    return ZeroShot(accuracy, right / asked if asked else None, asked)


def _nearest(
    head: Head, vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """int64 (n,): the nearest of some labels of a head."""
    nearest: npt.NDArray[np.int64] = labels[(vectors @ head.weights[labels].T).argmax(axis=1)]
    return nearest
