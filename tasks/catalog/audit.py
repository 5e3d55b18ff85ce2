"""Photos drawn at random from what each run tagged, for people to look at: they tell of all the others."""

import hashlib
import heapq
from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, Engine, exists, func, insert, literal, select, text, true

from tasks.catalog.engine import clock, one_at_a_time, outlasts_outages, reading, writing
from tasks.catalog.tables import audit_samples, runs, shards

PAGE = 5_000  # rows fetched at once
_SURELY_OVER = timedelta(hours=1)  # many leases, see `runs.take_up_again`


@outlasts_outages
def draw(engine: Engine, run_id: int, photos_wanted: int) -> int:
    """Draws that many of the photos that the run tagged, or all of fewer; returns how many were drawn.

    A simple random sample without replacement: those whose hashes are smallest, of a photo's number and the
    run's owner, which is a random one. So each had the same chance, n of N, and the same run draws the same.
    Earlier runs that ended before they drew are drawn from likewise, each for itself, so that every photo has
    a chance; but not within an hour of their end, since a run that was only silent, and is taken up again,
    would lose what it tags after the draw. A run is drawn from once.
    """
    if not photos_wanted:
        return 0
    with reading(engine) as connection:
        drawn = {drawn: _sample(connection, drawn, photos_wanted) for drawn in _undrawn(connection, run_id)}
    return sum(_write(engine, drawn, sample) for drawn, sample in drawn.items() if sample)


def _undrawn(connection: Connection, run_id: int) -> list[int]:
    """This run, and runs of its kind that ended early, which tagged something and were not drawn from."""
    this = select(runs.c.flow).where(runs.c.run_id == run_id).scalar_subquery()
    early = runs.c.status.in_(("failed", "interrupted")) & (runs.c.flow == this) & (runs.c.run_id < run_id)
    early &= func.coalesce(runs.c.finished_at < clock(connection) - _SURELY_OVER, true())
    tagged = exists().where(shards.c.run_id == runs.c.run_id, shards.c.tagged > 0)
    query = select(runs.c.run_id).where((runs.c.run_id == run_id) | early, tagged, ~_is_drawn(runs.c.run_id))
    return list(connection.execute(query.order_by(runs.c.run_id)).scalars())


def _is_drawn(run_id: ColumnElement[int]) -> ColumnElement[bool]:
    return exists().where(audit_samples.c.run_id == run_id)


def _sample(connection: Connection, run_id: int, wanted: int) -> dict[int, float]:
    """The photos drawn of a run, each with its inclusion probability."""
    owner = connection.execute(select(runs.c.owner).where(runs.c.run_id == run_id)).scalar()
    seen = 0

    def tagged() -> Iterator[int]:
        nonlocal seen
        for photo_id in _tagged(connection, run_id):
            seen += 1
            yield photo_id

    sample = heapq.nsmallest(wanted, tagged(), key=lambda photo_id: _lot(owner or str(run_id), photo_id))
    return dict.fromkeys(sorted(sample), len(sample) / seen if seen else 0.0)


def _tagged(connection: Connection, run_id: int) -> Iterator[int]:
    """The photos that a run tagged and that still show what it saw."""
    # CROSS JOIN holds SQLite to this order: the cost grows with the night, not with the catalogue.
    query = text(
        "SELECT p.photo_id FROM shards h CROSS JOIN photos p WHERE h.run_id = :run_id"
        " AND p.shard_id = h.shard_id AND p.content_id IS NOT NULL AND p.vanished_at IS NULL"
    )
    return connection.execution_options(yield_per=PAGE).execute(query, {"run_id": run_id}).scalars()


def _lot(owner: str, photo_id: int) -> bytes:
    return hashlib.blake2b(f"{owner} {photo_id}".encode(), digest_size=16).digest()


@outlasts_outages
def _write(engine: Engine, run_id: int, sample: dict[int, float]) -> int:
    """All of a run's sample or nothing, so that nobody draws from what is half drawn; safe to repeat."""
    with writing(engine) as connection:
        one_at_a_time(connection)
        if connection.execute(select(_is_drawn(literal(run_id)))).scalar():
            return 0
        of_all = {"run_id": run_id, "drawn_at": clock(connection)}
        rows = [
            {"photo_id": photo_id, "inclusion_probability": share, **of_all}
            for photo_id, share in sample.items()
        ]
        connection.execute(insert(audit_samples), rows)
    return len(rows)
