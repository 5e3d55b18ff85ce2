"""How the photos of a run differ from those that the champion knew, and how many are like no product at all.

What it knew are photos of the last nights before it was put in place; of a catalogue's first champion, of
the first nights. It is fixed at the first look at which there is enough, and every later night is compared
with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, Row, select, text

from fashion_clip import embedding_drift, unknown_share
from fashion_clip.embedding_drift import Reference, night_from_json, night_of, reference_of
from fashion_clip.scoring import Decision
from fashion_clip.unknown_share import UnknownShare
from tasks.catalog.accuracy_tables import drift_references, run_drifts
from tasks.catalog.engine import clock, outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.models import LabelSet
from tasks.catalog.vectors import raw_vectors

EMBEDDINGS, UNKNOWN = "embeddings", "unknown"
OF_A_NIGHT = 500  # photos at most
NIGHTS = 3 * embedding_drift.LONGEST  # that are looked at together: lots of few photos take several


@dataclass(frozen=True)
class Drift:
    """Of a run. statistic: how far its photos are from what is known, or the share of unknown ones."""

    kind: str
    photos: int
    statistic: float | None
    drifted: bool

    @property
    def sentence(self) -> str:
        """For people."""
        if self.kind == UNKNOWN:
            return f"{self.statistic or 0:.1%} of {self.photos} photos are like no product that is known"
        return "the photos of the last nights are unlike those that the champion knew"


@outlasts_outages
def look(engine: Engine, run_id: int, label_set: LabelSet) -> list[Drift]:
    """Compares a run's photos with what the champion knew, and writes what is found, once a run.

    The cost grows with the night, not with the catalogue. Nothing is found before there is a reference.
    """
    with reading(engine) as connection:
        if (known := _of_run(connection, run_id)) is not None:
            return known
        kept = _references(connection, label_set)
        found = kept or _made_references(connection, run_id, label_set)
        if found is None:
            return []
        products, vectors, unknown = _photos(connection, run_id, label_set)
        before = _states(connection, run_id, label_set)
    references = kept or _keep(engine, label_set, *found)
    rows = [_embeddings(references[0], before[EMBEDDINGS], products, vectors)]
    if references[1] is not None:
        state = before[UNKNOWN][-1] if before[UNKNOWN] else references[1]
        rows.append(_unknown(UnknownShare.from_json(state), products, unknown))
    key = {"run_id": run_id, "label_set_id": label_set.label_set_id}
    with writing(engine) as connection:
        insert_or_nothing(connection, run_drifts, [key | row for row in rows])
        return _of_run(connection, run_id) or []


def _of_run(connection: Connection, run_id: int) -> list[Drift] | None:
    columns = (run_drifts.c.kind, run_drifts.c.photos, run_drifts.c.statistic, run_drifts.c.drifted)
    query = select(*columns).where(run_drifts.c.run_id == run_id).order_by(run_drifts.c.kind)
    rows = connection.execute(query).all()
    return [Drift(row.kind, row.photos, row.statistic, bool(row.drifted)) for row in rows] or None


def _references(connection: Connection, label_set: LabelSet) -> tuple[str, str | None] | None:
    mine = drift_references.c.label_set_id == label_set.label_set_id
    query = select(drift_references.c.embeddings, drift_references.c.unknown).where(mine)
    row = connection.execute(query).first()
    return None if row is None else (row.embeddings, row.unknown)


_EARLIER = text(
    "SELECT h.run_id, SUM(h.tagged) AS tagged FROM shards h JOIN runs r ON r.run_id = h.run_id"
    " WHERE h.run_id < :run_id AND r.flow = 'nightly-tagging' GROUP BY h.run_id HAVING SUM(h.tagged) > 0"
    f" ORDER BY h.run_id DESC LIMIT {embedding_drift.LOTS}"
)


def _made_references(
    connection: Connection, run_id: int, label_set: LabelSet
) -> tuple[str, str | None] | None:
    """From the runs before this one; None if they have too few photos."""
    nights = [row.run_id for row in connection.execute(_EARLIER, {"run_id": run_id})]
    most = max(OF_A_NIGHT, 2 * embedding_drift.LOTS * embedding_drift.MOST_PHOTOS // max(len(nights), 1))
    found = [_photos(connection, night, label_set, most) for night in reversed(nights)]
    products = [product for of_night, _, _ in found for product in of_night]
    if not products:
        return None
    vectors = np.concatenate([of_night for _, of_night, _ in found])
    places = np.repeat(np.arange(len(found)), [len(of_night) for _, of_night, _ in found])
    reference: Reference | None = reference_of(products, vectors, places)
    if reference is None:
        return None
    calibration, strange = label_set.calibration, _count([one for _, _, one in found], products)
    has_rule = calibration is not None and calibration.unknown is not None and strange[0] < strange[1]
    return reference.to_json(), unknown_share.begin(*strange).to_json() if has_rule else None


@outlasts_outages
def _keep(
    engine: Engine, label_set: LabelSet, embeddings: str, unknown: str | None
) -> tuple[str, str | None]:
    """Written once: of two looks at the same time the first one's stays."""
    with writing(engine) as connection:
        row = {"label_set_id": label_set.label_set_id, "made_at": clock(connection)}
        row |= {"embeddings": embeddings, "unknown": unknown}
        insert_or_nothing(connection, drift_references, [row])
        found = _references(connection, label_set)
        assert found is not None
        return found


def _photos(
    connection: Connection, run_id: int, label_set: LabelSet, most: int = OF_A_NIGHT
) -> tuple[list[str], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Products, vectors and whether they are unknown, of a run's photos: every k-th of more than `most`."""
    raw = raw_vectors(connection, "e.vector")
    # Begins at the run's own shards. CROSS JOIN holds SQLite to that order.
    of_run = (
        "FROM shards h CROSS JOIN photos p WHERE h.run_id = :run_id AND p.shard_id = h.shard_id"
        " AND p.content_id IS NOT NULL"
    )
    counted = connection.execute(text(f"SELECT COUNT(*) {of_run}"), {"run_id": run_id}).scalar_one()
    query = text(
        f"SELECT p.product_id, l.decision, {raw.expression} AS vector"
        " FROM shards h CROSS JOIN photos p CROSS JOIN embeddings e CROSS JOIN labels l"
        " WHERE h.run_id = :run_id AND p.shard_id = h.shard_id AND p.photo_id % :k = 0"
        " AND e.encoder_id = :encoder_id AND e.content_id = p.content_id AND l.label_set_id = :label_set_id"
        " AND l.content_id = p.content_id AND l.attribute_id = :attribute_id ORDER BY p.photo_id"
    )
    values = {
        "run_id": run_id,
        "k": 1 + int(counted) // most,
        "encoder_id": label_set.encoder_id,
        "label_set_id": label_set.label_set_id,
        "attribute_id": next(iter(label_set.attribute_ids.values())),
    }
    rows: Sequence[Row[Any]] = connection.execute(query, values).all()
    vectors = raw.matrix([bytes(row.vector) for row in rows], label_set.dimension)
    unknown = np.array([row.decision == Decision.UNKNOWN for row in rows], dtype=bool)
    return [row.product_id for row in rows], vectors, unknown


def _states(connection: Connection, run_id: int, label_set: LabelSet) -> dict[str, list[str]]:
    """The states that earlier runs left, oldest first."""
    mine = (run_drifts.c.label_set_id == label_set.label_set_id) & (run_drifts.c.run_id < run_id)
    found = {}
    for kind in (EMBEDDINGS, UNKNOWN):
        query = select(run_drifts.c.state).where(mine, run_drifts.c.kind == kind)
        latest = query.order_by(run_drifts.c.run_id.desc()).limit(NIGHTS)
        found[kind] = list(connection.execute(latest).scalars())[::-1]
    return found


def _embeddings(
    reference: str, before: list[str], products: list[str], vectors: npt.NDArray[np.float32]
) -> dict[str, Any]:
    tonight = night_of(products, vectors)
    nights = [*map(night_from_json, before), tonight]
    found = embedding_drift.look(embedding_drift.reference_from_json(reference), nights)
    return {
        "kind": EMBEDDINGS,
        "photos": found.n,
        "statistic": found.statistic,
        "p_value": found.p_value,
        "e_value": None,
        "drifted": int(found.drifted),
        "state": tonight.to_json(),
    }


def _unknown(before: UnknownShare, products: list[str], unknown: npt.NDArray[np.bool_]) -> dict[str, Any]:
    strange, n = _count([unknown], products)
    after = unknown_share.after(before, strange, n)
    return {
        "kind": UNKNOWN,
        "photos": n,
        "statistic": strange / n if n else None,
        "p_value": None,
        "e_value": after.e_value,
        "drifted": int(after.drifted),
        "state": after.to_json(),
    }


def _count(unknown: Sequence[npt.NDArray[np.bool_]], products: Sequence[str]) -> tuple[int, int]:
    """Unknown products, and all of them."""
    told = dict(zip(products, np.concatenate(unknown).tolist(), strict=True))
    return sum(told.values()), len(told)
