"""Embeddings to labels: a matrix product, a softmax, and the best few."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fashion_clip.taxonomy import Attribute, Taxonomy

if TYPE_CHECKING:
    from fashion_clip.encoder import ClipEncoder


class Decision(IntEnum):
    """What becomes of a label. All but the first two are for a person to look at, and say why."""

    UNCALIBRATED = 0
    ACCEPTED = 1
    UNCERTAIN = 2
    UNKNOWN = 3  # the photo is like none of the catalogue's
    CONFLICT = 4  # it cannot stand below the label that the parent attribute has


@dataclass(frozen=True, eq=False)
class Head:
    """One attribute's linear classifier over embeddings.

    weights: float32 (labels, dimension), each row of length 1.
    scales, biases: float32 (labels,), what a label's cosine is multiplied by, and what is added, before the
        softmax. By prompts alone all scales are the model's and all biases 0.
    """

    attribute: str
    labels: tuple[str, ...]
    weights: npt.NDArray[np.float32]
    scales: npt.NDArray[np.float32]
    biases: npt.NDArray[np.float32]

    def logits(self, similarity: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What the softmax is taken of, float32 (n, labels), of cosines (n, labels)."""
        found: npt.NDArray[np.float32] = similarity * self.scales + self.biases
        return found


@dataclass(frozen=True, eq=False)
class TopLabels:
    """The k best labels of each of n embeddings, best first; every array is (n, k).

    index: int32, into Head.labels. similarity: float32 cosine, -1..1. confidence: float32 probability among
    all labels of the attribute, 0..1. decision: int8 (n,), values of `Decision`.
    """

    index: npt.NDArray[np.int32]
    similarity: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    decision: npt.NDArray[np.int8]

    def rows(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> "TopLabels":
        """Those of some of the embeddings."""
        return TopLabels(self.index[rows], self.similarity[rows], self.confidence[rows], self.decision[rows])


def zero_shot_heads(encoder: "ClipEncoder", taxonomy: Taxonomy) -> tuple[Head, ...]:
    """One head for each attribute, made of its labels' prompts.

    A label's row is the mean of its prompts' unit embeddings, made a unit vector again: prompt ensembling as
    in the CLIP paper, section 3.1.4. A prompt that several labels share is encoded once.
    """
    attributes = taxonomy.attributes
    prompts = [p for attribute in attributes for label in attribute.labels for p in attribute.prompts(label)]
    unique = list(dict.fromkeys(prompts))
    vectors = dict(zip(unique, encoder.encode_texts(unique), strict=True))
    return tuple(_zero_shot_head(attribute, vectors, encoder.logit_scale) for attribute in attributes)


def prompt_head(
    attribute: str, labels: Sequence[str], weights: npt.NDArray[np.float32], scale: float
) -> Head:
    """A head of unit rows, float32 (labels, dimension), with one scale for all labels and no bias."""
    scales = np.full(len(labels), scale, dtype=np.float32)
    return Head(attribute, tuple(labels), weights, scales, np.zeros_like(scales))


def top_labels(head: Head, embeddings: npt.NDArray[np.float32], k: int = 5) -> TopLabels:
    """The best k labels, or all where there are fewer, of embeddings (n, dimension) with rows of length 1.

    Of equal logits the label that stands first in the head comes first.
    """
    similarity = embeddings @ head.weights.T
    logits = head.logits(similarity)
    return ranked(logits, similarity, np.exp(log_softmax(logits)), k)


def ranked(
    order: npt.NDArray[np.float32],
    similarity: npt.NDArray[np.float32],
    confidence: npt.NDArray[np.float32],
    k: int,
) -> TopLabels:
    """The k labels that come first in `order`; all arrays are (n, labels). Nothing is decided of them."""
    index = _best(order, min(k, order.shape[1]))
    return TopLabels(
        index=index.astype(np.int32),
        similarity=np.take_along_axis(similarity, index, axis=1),
        confidence=np.take_along_axis(confidence, index, axis=1),
        decision=np.full(len(index), Decision.UNCALIBRATED, dtype=np.int8),
    )


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The logarithms of the probabilities that logits (n, labels) stand for."""
    shifted = logits - logits.max(axis=1, keepdims=True)  # without the maximum exp overflows at 89
    logs: npt.NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def _best(similarity: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.intp]:
    """Column numbers of the k largest values of each row, (n, k): largest first, of equal ones the first.

    Taking the maximum k times costs a fifth of a sort (143 labels, k = 5); argpartition picks any of equals.
    """
    rest = similarity.copy()
    rows = np.arange(len(rest))
    index = np.empty((len(rest), k), dtype=np.intp)
    for rank in range(k):
        index[:, rank] = rest.argmax(axis=1)
        rest[rows, index[:, rank]] = -np.inf
    return index


def _zero_shot_head(attribute: Attribute, vectors: dict[str, npt.NDArray[np.float32]], scale: float) -> Head:
    rows = [
        _unit_mean([vectors[prompt] for prompt in attribute.prompts(label)]) for label in attribute.labels
    ]
    return prompt_head(attribute.name, [label.name for label in attribute.labels], np.stack(rows), scale)


def _unit_mean(vectors: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    mean = np.mean(vectors, axis=0)
    unit: npt.NDArray[np.float32] = mean / np.linalg.norm(mean)
    return unit
