"""Everything a retraining may learn from or be judged by: photos that have truth, with their vectors."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, text

from fashion_clip.calibrating import Truths
from fashion_clip.predictions import NONE_OF_THEM
from tasks.catalog.engine import outlasts_outages, reading
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import UtcDateTime
from tasks.catalog.truths import vectors_of

PAGE = 5_000  # rows fetched at once
NOT_KNOWN = -2  # nobody said anything of the attribute

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Told:
    """One attribute of n photos.

    truth: int64 (n,), into the taxonomy's labels, NONE_OF_THEM or NOT_KNOWN. truth_ids: int64 (n,), 0 where
    not known. sampled: bool (n,), drawn at random. weights: float64 (n,), 1 / inclusion probability, else 1.
    """

    truth: Ints
    truth_ids: Ints
    sampled: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evidence:
    """n photos, each with truth of an attribute at least.

    photos: URIs. products: ids. contents: int64 (n,), content ids. digests: sha256 of the bytes that the
    truth is about. given_at: float64 (n,), when the newest truth of the photo was given, in seconds. vectors:
    float32 (n, dimension), of the champion's encoder. told: by attribute.
    """

    photos: tuple[str, ...]
    products: tuple[str, ...]
    contents: Ints
    digests: tuple[str, ...]
    given_at: npt.NDArray[np.float64]
    vectors: npt.NDArray[np.float32]
    told: Mapping[str, Told]

    def truths(
        self,
        attribute: str,
        rows: Rows,
        vectors: npt.NDArray[np.float32],
        sampled: bool,
        groups: Ints | None = None,
    ) -> Truths:
        """The truth of an attribute among some of the photos; vectors are those of all n photos.

        sampled: only what was drawn at random. groups: int (n,), to stand in the products' place.
        """
        told = self.told[attribute]
        known = told.truth[rows] != NOT_KNOWN
        rows = rows[known & told.sampled[rows]] if sampled else rows[known]
        products = tuple(self.products[row] if groups is None else str(groups[row]) for row in rows)
        return Truths(vectors[rows], told.truth[rows], products, told.weights[rows])

    def truth_ids(self, rows: Rows) -> list[int]:
        """Of all that is known of some of the photos, ascending."""
        found = [told.truth_ids[rows] for told in self.told.values()]
        unique = np.unique(np.concatenate([np.zeros(1, dtype=np.int64), *found]))
        return [int(truth_id) for truth_id in unique[1:]]

    def version(self, rows: Rows) -> str:
        """sha256 hex over what is told of some of the photos, and of which bytes."""
        digest = hashlib.sha256()
        for row in sorted(rows.tolist(), key=lambda row: self.photos[row]):
            told = [f"{name}={one.truth[row]}" for name, one in sorted(self.told.items())]
            digest.update(f"{self.photos[row]!r} {self.digests[row]} {' '.join(told)}\n".encode())
        return digest.hexdigest()


@outlasts_outages
def evidence(engine: Engine, label_set: LabelSet) -> Evidence:
    """All photos that have truth of an attribute of the label set, and a vector of its encoder."""
    query = text(
        "SELECT t.attribute_id, t.uri, t.product_id, t.content_id, c.sha256, t.given_at, t.label_id,"
        " t.truth_id, t.chosen, t.inclusion_probability"
        " FROM photo_truths t JOIN contents c ON c.content_id = t.content_id"
        " JOIN embeddings e ON e.encoder_id = :encoder_id AND e.content_id = t.content_id"
        " ORDER BY t.content_id, t.uri, t.attribute_id"
    ).columns(given_at=UtcDateTime())
    names = {attribute_id: name for name, attribute_id in label_set.attribute_ids.items()}
    photos: dict[tuple[str, int], int] = {}
    facts: list[tuple[str, int, str]] = []
    given_at: list[float] = []
    told: dict[str, list[tuple[int, int, int, bool, float]]] = {name: [] for name in label_set.attribute_ids}
    places = {
        name: {label_id: place for place, label_id in enumerate(ids)}
        for name, ids in label_set.label_ids.items()
    }
    with reading(engine) as connection:
        found = connection.execution_options(yield_per=PAGE).execute(
            query, {"encoder_id": label_set.encoder_id}
        )
        for row in found:
            if (name := names.get(row.attribute_id)) is None:
                continue
            number = photos.setdefault((row.uri, row.content_id), len(photos))
            if number == len(facts):
                facts.append((row.product_id, row.content_id, row.sha256))
                given_at.append(-np.inf)
            given_at[number] = max(given_at[number], row.given_at.timestamp())
            label = places[name].get(row.label_id, NONE_OF_THEM)
            weight = 1 / (row.inclusion_probability or 1)
            told[name].append((number, label, row.truth_id, row.chosen == "random", weight))
        contents = np.array([fact[1] for fact in facts], dtype=np.int64)
        unique, of_photo = np.unique(contents, return_inverse=True)
        vectors = vectors_of(connection, label_set, unique)[of_photo]
    return Evidence(
        tuple(uri for uri, _ in photos),
        tuple(fact[0] for fact in facts),
        contents,
        tuple(fact[2] for fact in facts),
        np.array(given_at, dtype=np.float64),
        vectors,
        {name: _told(len(facts), rows) for name, rows in told.items() if rows},
    )


@outlasts_outages
def sampled_attributes(engine: Engine, label_set: LabelSet) -> set[str]:
    """The attributes of the label set that have truth which was drawn at random."""
    names = {attribute_id: name for name, attribute_id in label_set.attribute_ids.items()}
    query = text("SELECT DISTINCT attribute_id FROM photo_truths WHERE chosen = 'random'")
    with reading(engine) as connection:
        return {names[found] for found in connection.execute(query).scalars() if found in names}


def _told(n: int, rows: list[tuple[int, int, int, bool, float]]) -> Told:
    told = Told(
        np.full(n, NOT_KNOWN, dtype=np.int64), np.zeros(n, np.int64), np.zeros(n, np.bool_), np.ones(n)
    )
    for number, label, truth_id, sampled, weight in rows:
        told.truth[number], told.truth_ids[number] = label, truth_id
        told.sampled[number], told.weights[number] = sampled, weight
    return told
