"""Scores to rows of `labels`, as tuples: a label set of a million photos has seven million."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np

from fashion_clip.scoring import TopLabels
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import CANDIDATES, SCORE_SCALE

Row = tuple[int | None, ...]

CONTENTS_AT_ONCE = 512  # some 4 MB of numbers as objects of Python, where there are seven attributes


def label_rows(
    label_set: LabelSet, shard_id: int, content_ids: Sequence[int], top: Mapping[str, TopLabels]
) -> Iterator[Row]:
    """The rows of contents, with a value for every column, in the order of their key.

    In that order transactions at once wait for each other and do not lock each other out.

    top: attribute -> the best labels of the contents, arrays of shape (len(content_ids), k).
    """
    order = sorted(range(len(content_ids)), key=content_ids.__getitem__)
    for start in range(0, len(order), CONTENTS_AT_ONCE):
        chosen = order[start : start + CONTENTS_AT_ONCE]
        some = {attribute: best.rows(chosen) for attribute, best in top.items()}
        yield from _rows(label_set, shard_id, [content_ids[position] for position in chosen], some)


def _rows(
    label_set: LabelSet, shard_id: int, content_ids: Sequence[int], top: Mapping[str, TopLabels]
) -> Iterator[Row]:
    by_attribute = [
        zip(
            repeat(label_set.label_set_id),
            content_ids,
            repeat(attribute_id),
            repeat(shard_id),
            top[attribute].decision.tolist(),
            *_columns(top[attribute], label_set.label_ids[attribute]),
        )
        for attribute_id, attribute in sorted((label_set.attribute_ids[name], name) for name in top)
    ]
    return chain.from_iterable(zip(*by_attribute, strict=True))


def _columns(top: TopLabels, label_ids: Sequence[int]) -> list[Any]:
    """label_1, similarity_1, confidence_1, label_2, ..; scores in units of 1 / SCORE_SCALE."""
    similarity, confidence = (
        np.rint(score * SCORE_SCALE).astype(int) for score in (top.similarity, top.confidence)
    )
    labels = np.asarray(label_ids)[top.index]
    given = [
        part[:, rank].tolist()
        for rank in range(top.index.shape[1])
        for part in (labels, similarity, confidence)
    ]
    return given + [repeat(None)] * (3 * CANDIDATES - len(given))
