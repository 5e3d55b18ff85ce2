"""How a night's photos differ from those that the champion knew, and how many are like no product at all.

A night is what has been tagged since the last look, by whatever runs. What the champion knew are photos of
the last nights before it was put in place; of a catalogue's first champion, those that are there at the first
look. That is fixed once there is enough, and every later night is compared with it. The share of unknown
photos is compared with that of the first ones after it began: the rule was made of those before.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, Row, func, insert, select, text

from fashion_clip import embedding_drift, unknown_share
from fashion_clip.embedding_drift import night_from_json, night_of, reference_from_json, reference_of
from fashion_clip.scoring import Decision
from fashion_clip.unknown_share import UnknownShare
from tasks.catalog.accuracy_tables import drift_references, run_drifts
from tasks.catalog.engine import clock, one_at_a_time, outlasts_outages, writing
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import shards
from tasks.catalog.vectors import raw_vectors

EMBEDDINGS, UNKNOWN = "embeddings", "unknown"
OF_A_NIGHT = 500  # photos at most
NIGHTS = 3 * embedding_drift.LONGEST  # that are looked at together: lots of few photos take several
UNKNOWN_REFERENCE = 1_000  # photos


@dataclass(frozen=True)
class Drift:
    """Of a night. statistic: how far its photos are from what is known, or the share of unknown ones."""

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


@dataclass(frozen=True, eq=False)
class _Photos:
    """Of n photos. vectors: float32 (n, dimension). unknown: bool (n,), None where no rule tells."""

    products: list[str]
    vectors: npt.NDArray[np.float32]
    unknown: npt.NDArray[np.bool_] | None


@outlasts_outages
def look(engine: Engine, run_id: int, label_set: LabelSet, apart: timedelta) -> list[Drift]:
    """Compares the photos since the last look with what the champion knew, and writes what is found.

    Safe to repeat: a run has one look. One that follows another in less than `apart` is left to the next, as
    the tests count nights. Nothing is found before there is a reference. The cost grows with the night, not
    with the catalogue.
    """
    with writing(engine) as connection:
        one_at_a_time(connection)
        if (done := _of_run(connection, run_id)) is not None:
            return done
        now, last = clock(connection), _last(connection, label_set)
        if last is not None and now - last.looked_at < apart:
            return []
        until = connection.execute(select(func.coalesce(func.max(shards.c.shard_id), 0))).scalar_one()
        kept = _reference(connection, label_set)
        after = last.shard_id if last is not None else kept.shard_id if kept is not None else 0
        if kept is None:
            _make_reference(connection, label_set, until)
            return []
        tonight = _photos(connection, label_set, after, until, OF_A_NIGHT)
        found = [_embeddings(kept.embeddings, _states(connection, label_set, EMBEDDINGS), tonight)]
        if tonight.unknown is not None:
            found.append(_unknown(_states(connection, label_set, UNKNOWN)[-1:], tonight))
        key = {
            "run_id": run_id,
            "label_set_id": label_set.label_set_id,
            "looked_at": now,
            "shard_id": until,
        }
        connection.execute(insert(run_drifts), [key | row for row in found])
        return _of_run(connection, run_id) or []


def _of_run(connection: Connection, run_id: int) -> list[Drift] | None:
    columns = (run_drifts.c.kind, run_drifts.c.photos, run_drifts.c.statistic, run_drifts.c.drifted)
    query = select(*columns).where(run_drifts.c.run_id == run_id).order_by(run_drifts.c.kind)
    rows = connection.execute(query).all()
    return [Drift(row.kind, row.photos, row.statistic, bool(row.drifted)) for row in rows] or None


def _last(connection: Connection, label_set: LabelSet) -> Row[Any, Any] | None:
    mine = (run_drifts.c.label_set_id == label_set.label_set_id) & (run_drifts.c.kind == EMBEDDINGS)
    columns = (run_drifts.c.looked_at, run_drifts.c.shard_id)
    query = select(*columns).where(mine).order_by(run_drifts.c.shard_id.desc(), run_drifts.c.run_id.desc())
    return connection.execute(query.limit(1)).first()


def _reference(connection: Connection, label_set: LabelSet) -> Row[Any, Any] | None:
    mine = drift_references.c.label_set_id == label_set.label_set_id
    query = select(drift_references.c.embeddings, drift_references.c.shard_id).where(mine)
    return connection.execute(query).first()


_EARLIER = text(
    "SELECT h.run_id, MIN(h.shard_id) AS first, MAX(h.shard_id) AS last FROM shards h"
    " JOIN runs r ON r.run_id = h.run_id WHERE r.flow = 'nightly-tagging' AND h.tagged > 0"
    f" GROUP BY h.run_id ORDER BY h.run_id DESC LIMIT {embedding_drift.LOTS}"
)


def _make_reference(connection: Connection, label_set: LabelSet, until: int) -> None:
    """From the last runs that there are, unless they have too few photos."""
    runs = list(reversed(connection.execute(_EARLIER).all()))
    most = max(OF_A_NIGHT, 2 * embedding_drift.LOTS * embedding_drift.MOST_PHOTOS // max(len(runs), 1))
    found = [_photos(connection, label_set, run.first - 1, run.last, most) for run in runs]
    products = [product for night in found for product in night.products]
    if not products:
        return
    vectors = np.concatenate([night.vectors for night in found])
    nights = np.repeat(np.arange(len(found)), [len(night.products) for night in found])
    reference = reference_of(products, vectors, nights)
    if reference is not None:
        row = {"label_set_id": label_set.label_set_id, "made_at": clock(connection), "shard_id": until}
        connection.execute(insert(drift_references).values(row | {"embeddings": reference.to_json()}))


def _photos(connection: Connection, label_set: LabelSet, after: int, until: int, most: int) -> _Photos:
    """The photos that shards after one and up to another have bound: every k-th of more than `most`."""
    raw = raw_vectors(connection, "e.vector")
    # Begins at the shards. CROSS JOIN holds SQLite to that order.
    bound = "h.shard_id > :after AND h.shard_id <= :until AND p.shard_id = h.shard_id"
    counted = text(f"SELECT COUNT(*) FROM shards h CROSS JOIN photos p WHERE {bound}")
    query = text(
        f"SELECT p.product_id, l.decision, {raw.expression} AS vector"
        " FROM shards h CROSS JOIN photos p CROSS JOIN embeddings e CROSS JOIN labels l"
        f" WHERE {bound} AND p.photo_id % :k = 0"
        " AND e.encoder_id = :encoder_id AND e.content_id = p.content_id AND l.label_set_id = :label_set_id"
        " AND l.content_id = p.content_id AND l.attribute_id = :attribute_id ORDER BY p.photo_id"
    )
    between = {"after": after, "until": until}
    photos = int(connection.execute(counted, between).scalar_one())
    telling = _telling(label_set)
    attribute = telling if telling is not None else next(iter(label_set.attribute_ids))
    values = {
        **between,
        "k": 1 + photos // most,
        "encoder_id": label_set.encoder_id,
        "label_set_id": label_set.label_set_id,
        "attribute_id": label_set.attribute_ids[attribute],
    }
    rows = connection.execute(query, values).all()
    vectors = raw.matrix([bytes(row.vector) for row in rows], label_set.dimension)
    unknown = np.array([row.decision == Decision.UNKNOWN for row in rows], dtype=bool)
    return _Photos([row.product_id for row in rows], vectors, unknown if telling is not None else None)


def _telling(label_set: LabelSet) -> str | None:
    """An attribute whose decisions tell unknown photos: a calibrated one, where there is a rule."""
    calibration, taxonomy = label_set.calibration, label_set.taxonomy
    if calibration is None or calibration.unknown is None:
        return None
    calibrated = (one.name for one in taxonomy.attributes if calibration.of(taxonomy, one) is not None)
    return next(calibrated, None)


def _states(connection: Connection, label_set: LabelSet, kind: str) -> list[str]:
    """The states that the last looks left, oldest first."""
    mine = (run_drifts.c.label_set_id == label_set.label_set_id) & (run_drifts.c.kind == kind)
    latest = select(run_drifts.c.state).where(mine).order_by(run_drifts.c.looked_at.desc()).limit(NIGHTS)
    return list(connection.execute(latest).scalars())[::-1]


def _embeddings(reference: str, before: Sequence[str], photos: _Photos) -> dict[str, Any]:
    tonight = night_of(photos.products, photos.vectors)
    nights = [*map(night_from_json, before), tonight]
    found = embedding_drift.look(reference_from_json(reference), nights)
    return {
        "kind": EMBEDDINGS, "photos": found.n, "statistic": found.statistic, "p_value": found.p_value,
        "e_value": None, "drifted": int(found.drifted), "state": tonight.to_json(),
    }  # fmt: skip


def _unknown(before: Sequence[str], photos: _Photos) -> dict[str, Any]:
    """By product. The first nights make the reference."""
    assert photos.unknown is not None
    of_product = dict(zip(photos.products, photos.unknown.tolist(), strict=True))
    strange, n = sum(of_product.values()), len(of_product)
    told = json.loads(before[0]) if before else {"gathered": [0, 0]}
    if "gathered" in told:
        known = [told["gathered"][0] + strange, told["gathered"][1] + n]
        enough = known[0] < known[1] >= UNKNOWN_REFERENCE
        state = unknown_share.begin(*known).to_json() if enough else json.dumps({"gathered": known})
        e_value, drifted = None, False
    else:
        after = unknown_share.after(UnknownShare.from_json(before[0]), strange, n)
        state, e_value, drifted = after.to_json(), after.e_value, after.drifted
    return {
        "kind": UNKNOWN, "photos": n, "statistic": strange / n if n else None, "p_value": None,
        "e_value": e_value, "drifted": int(drifted), "state": state,
    }  # fmt: skip
