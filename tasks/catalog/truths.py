"""What the catalogue knows to be true, beside what a label set says of it, and the vectors to fit it to."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, Row, TextClause, bindparam, text

from fashion_clip.predictions import NONE_OF_THEM, Predictions, product_codes
from fashion_clip.scoring import TopLabels
from tasks.catalog.engine import outlasts_outages, reading
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import CANDIDATES, SCORE_SCALE
from tasks.catalog.vectors import raw_vectors

PAGE = 5_000  # rows fetched, vectors read at once

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TruthVectors:
    """One attribute of n photos: what is true of them, and their vectors.

    photos: URIs. product_ids: of the n photos. truth: int (n,), into the taxonomy's labels, or NONE_OF_THEM.
    weights: float64 (n,), 1 / inclusion probability, and 1 where that is unknown.
    vectors: float32 (n, dimension); attributes of the same photos have them in common.
    """

    photos: tuple[str, ...]
    product_ids: tuple[str, ...]
    truth: Ints
    weights: npt.NDArray[np.float64]
    vectors: npt.NDArray[np.float32]


@outlasts_outages
def verdicts(engine: Engine, label_set: LabelSet) -> dict[str, Predictions]:
    """Attribute -> what a label set says of every photo, vanished ones too, that has truth of the attribute.

    It is said of the picture that the truth is about. Attributes without truth are left out. Truth whose
    label the taxonomy lacks is NONE_OF_THEM.
    """
    query = text(
        f"SELECT {_TOLD}, {_LABELS} FROM photo_truths t"
        " JOIN labels l ON l.label_set_id = :label_set_id AND l.content_id = t.content_id"
        " AND l.attribute_id = t.attribute_id ORDER BY t.attribute_id, t.uri"
    )
    with reading(engine) as connection:
        found = {
            attribute: _predictions(label_set, attribute, rows)
            for attribute, rows in _by_attribute(
                connection, label_set, query, {"label_set_id": label_set.label_set_id}
            )
        }
    return {attribute: found[attribute] for attribute in label_set.attribute_ids if attribute in found}


@outlasts_outages
def truth_vectors(engine: Engine, label_set: LabelSet, sampled_only: bool) -> dict[str, TruthVectors]:
    """Attribute -> truth and vectors of the label set's encoder, of every photo that has both.

    sampled_only: only of photos that were drawn at random, which tell of the others.
    """
    query = text(
        f"SELECT {_TOLD}, t.content_id FROM photo_truths t"
        " JOIN embeddings e ON e.encoder_id = :encoder_id AND e.content_id = t.content_id"
        " WHERE (:sampled_only = 0 OR t.chosen = 'random') ORDER BY t.attribute_id, t.content_id, t.uri"
    )
    values = {"encoder_id": label_set.encoder_id, "sampled_only": int(sampled_only)}
    with reading(engine) as connection:
        found = {
            attribute: _read(label_set, attribute, rows, 1)
            for attribute, rows in _by_attribute(connection, label_set, query, values)
        }
        of_all = np.concatenate([np.empty(0, np.int64), *(told.numbers[:, 0] for told in found.values())])
        content_ids = np.unique(of_all)
        vectors = vectors_of(connection, label_set, content_ids)
    return {
        attribute: TruthVectors(
            told.photos,
            told.product_ids,
            told.truth,
            told.weights,
            # Photos are in the order of their contents: mostly all attributes have truth of the same ones.
            vectors
            if np.array_equal(told.numbers[:, 0], content_ids)
            else vectors[np.searchsorted(content_ids, told.numbers[:, 0])],
        )
        for attribute in label_set.attribute_ids
        if (told := found.get(attribute))
    }


_TOLD = "t.attribute_id, t.uri, t.product_id, t.label_id, t.inclusion_probability"
_LABEL_COLUMNS = [
    f"{column}_{rank}"
    for column in ("label", "similarity", "confidence")
    for rank in range(1, CANDIDATES + 1)
]
_LABELS = ", ".join(f"l.{column}" for column in ("decision", *_LABEL_COLUMNS))


def _by_attribute(
    connection: Connection, label_set: LabelSet, query: TextClause, values: Mapping[str, int]
) -> Iterator[tuple[str, Iterator[Row[Any]]]]:
    """The rows of each attribute of the label set, streamed: each must be read before the next."""
    names = {attribute_id: attribute for attribute, attribute_id in label_set.attribute_ids.items()}
    found = connection.execution_options(yield_per=PAGE).execute(query, values)
    for attribute_id, rows in groupby(found, lambda row: row.attribute_id):
        if attribute_id in names:
            yield names[attribute_id], rows


@dataclass(frozen=True, eq=False)
class _Told:
    """Rows of one attribute as columns. numbers: int64 (n, width), what stands behind _TOLD, 0 for NULL."""

    photos: tuple[str, ...]
    product_ids: tuple[str, ...]
    truth: Ints
    weights: npt.NDArray[np.float64]
    numbers: Ints


def _read(label_set: LabelSet, attribute: str, rows: Iterator[Row[Any]], width: int) -> _Told:
    place = {label_id: place for place, label_id in enumerate(label_set.label_ids[attribute])}
    pages = [_page(place, page, width) for page in iter(lambda: list(islice(rows, PAGE)), [])]
    return _Told(
        tuple(chain.from_iterable(page.photos for page in pages)),
        tuple(chain.from_iterable(page.product_ids for page in pages)),
        *(
            np.concatenate([getattr(page, name) for page in pages])
            for name in ("truth", "weights", "numbers")
        ),
    )


def _page(place: Mapping[int, int], rows: list[Row[Any]], width: int) -> _Told:
    first = len(_TOLD.split(","))  # what else is asked for stands behind
    numbers = [[0 if value is None else value for value in row[first:]] for row in rows]
    return _Told(
        # One string for all attributes: a photo's address is longer than the rest of what is kept of it.
        tuple(sys.intern(row.uri) for row in rows),
        tuple(sys.intern(row.product_id) for row in rows),
        np.array([place.get(row.label_id, NONE_OF_THEM) for row in rows], dtype=np.int64),
        np.array([1 / (row.inclusion_probability or 1) for row in rows], dtype=np.float64),
        np.array(numbers, dtype=np.int64).reshape(len(rows), width),
    )


def _predictions(label_set: LabelSet, attribute: str, rows: Iterator[Row[Any]]) -> Predictions:
    told = _read(label_set, attribute, rows, 1 + len(_LABEL_COLUMNS))
    label_ids = np.array(label_set.label_ids[attribute])
    kept = min(CANDIDATES, len(label_ids))
    labels, similarity, confidence = (told.numbers[:, 1 + i * CANDIDATES :][:, :kept] for i in range(3))
    in_order = np.argsort(label_ids)
    top = TopLabels(
        index=in_order[np.searchsorted(label_ids, labels, sorter=in_order)].astype(np.int32),
        similarity=(similarity / SCORE_SCALE).astype(np.float32),
        confidence=(confidence / SCORE_SCALE).astype(np.float32),
        decision=told.numbers[:, 0].astype(np.int8),
    )
    names = next(one for one in label_set.taxonomy.attributes if one.name == attribute).labels
    return Predictions(
        attribute=attribute,
        labels=tuple(label.name for label in names),
        truth=told.truth,
        top=top,
        photos=told.photos,
        products=product_codes(told.product_ids),
        weights=told.weights,
    )


def vectors_of(connection: Connection, label_set: LabelSet, content_ids: Ints) -> npt.NDArray[np.float32]:
    """float32 (len(content_ids), dimension); they are in order, and each is there."""
    raw = raw_vectors(connection, "e.vector")
    query = text(
        f"SELECT {raw.expression} FROM embeddings e WHERE e.encoder_id = :encoder_id"
        " AND e.content_id IN :content_ids ORDER BY e.content_id"
    ).bindparams(bindparam("content_ids", expanding=True))
    vectors = np.empty((len(content_ids), label_set.dimension), dtype=np.float32)
    for start in range(0, len(content_ids), PAGE):
        page = content_ids[start : start + PAGE].tolist()
        rows = connection.execute(query, {"encoder_id": label_set.encoder_id, "content_ids": page})
        vectors[start : start + len(page)] = raw.matrix([bytes(row[0]) for row in rows], label_set.dimension)
    return vectors
