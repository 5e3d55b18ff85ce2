"""Runs: begun, ended, and told in `run_history`. What a run did is counted by its shards."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, select, text, update

from fashion_clip.errors import CatalogError, FashionClipError
from tasks.catalog import heartbeat, ledger
from tasks.catalog.engine import clock, outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.tables import runs, shards


@dataclass(frozen=True)
class RunSummary:
    """One row of `run_history`: listed = known + tagged + quarantined + remaining when it is completed."""

    run_id: int
    flow: str
    source: str | None
    started_at: datetime
    finished_at: datetime | None
    status: str
    listed: int | None
    ignored: int | None
    known: int | None
    embedded: int
    tagged: int
    quarantined: int
    remaining: int | None
    error: str | None
    prefect_flow_run_id: str | None

    @property
    def seconds(self) -> float | None:
        """From start to end; None while the run goes on."""
        return None if self.finished_at is None else (self.finished_at - self.started_at).total_seconds()

    def as_dict(self) -> dict[str, Any]:
        """The row and its seconds, for JSON."""
        return asdict(self) | {"seconds": self.seconds}


@contextmanager
def recorded(engine: Engine, flow: str, source: str, prefect_flow_run_id: str | None) -> Iterator[int]:
    """Gives the run_id of a run that is recorded however it ends: completed, failed, or interrupted.

    A run whose process dies without a word is closed by the next one as `interrupted`, after its lease.
    `source` is what was asked for, until `record_listing` knows the URI.
    """
    close_dead_runs(engine)
    run_id = _start(engine, flow, source, prefect_flow_run_id, owner=secrets.token_hex(16))
    try:
        with heartbeat.beating(lambda: _show_alive(engine, run_id)):
            yield run_id
    except Exception as error:
        _finish_if_possible(engine, run_id, "failed", _told(error))
        raise
    except BaseException:  # Ctrl-C, or Prefect cancelling the flow
        _finish_if_possible(engine, run_id, "interrupted", None)
        raise
    _finish(engine, run_id, "completed", None)


@outlasts_outages
def _start(engine: Engine, flow: str, source: str, prefect_flow_run_id: str | None, owner: str) -> int:
    """The run of that owner: begun, or found where a broken connection hid that it was."""
    with writing(engine) as connection:
        row = {
            "flow": flow,
            "source": source,
            "started_at": datetime.now(UTC),
            "status": "running",
            "prefect_flow_run_id": prefect_flow_run_id,
            "owner": owner,
            "alive_until": heartbeat.lease_end(clock(connection)),
        }
        insert_or_nothing(connection, runs, [row])
        return int(connection.execute(select(runs.c.run_id).where(runs.c.owner == owner)).scalar_one())


def _show_alive(engine: Engine, run_id: int) -> None:
    with writing(engine) as connection:
        query = update(runs).where(runs.c.run_id == run_id)
        connection.execute(query.values(alive_until=heartbeat.lease_end(clock(connection))))


@outlasts_outages
def close_dead_runs(engine: Engine) -> int:
    """Ends the runs whose process is gone, with their counts so far; returns how many there were."""
    with reading(engine) as connection:
        dead = connection.execute(_dead(connection)).all()
    if not dead:
        return 0
    with writing(engine) as connection:
        dead = connection.execute(_dead(connection)).all()
        for run_id, alive_until in dead:
            _end(connection, run_id, "interrupted", "its process ended without a word", alive_until)
    return len(dead)


def _dead(connection: Connection) -> Select[int, datetime | None]:
    """Runs that are said to be running and have not been seen alive for a lease, and when they last were."""
    silent = runs.c.alive_until.is_(None) | (runs.c.alive_until < clock(connection))
    return select(runs.c.run_id, runs.c.alive_until).where(runs.c.status == "running", silent)


def _told(error: Exception) -> str:
    told = str(error) if isinstance(error, FashionClipError) else f"{type(error).__name__}: {error}"[:2000]
    # Half a character is refused by both databases, and NUL by PostgreSQL.
    return told.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def _finish_if_possible(engine: Engine, run_id: int, status: str, error: str | None) -> None:
    # Where the database is what failed, the error on its way up must not be hidden by a second one.
    with suppress(CatalogError):
        _finish(engine, run_id, status, error)


def take_up_again(connection: Connection, run_id: int) -> None:
    """A run that was closed as dead and commits a shard all the same is running: its counts were early."""
    closed = (runs.c.run_id == run_id) & (runs.c.status == "interrupted")
    values = {"status": "running", "finished_at": None, "error": None, "known": None, "remaining": None}
    connection.execute(
        update(runs).where(closed).values(**values, alive_until=heartbeat.lease_end(clock(connection)))
    )


@outlasts_outages
def _finish(engine: Engine, run_id: int, status: str, error: str | None) -> None:
    with writing(engine) as connection:
        _end(connection, run_id, status, error, datetime.now(UTC))


def _end(
    connection: Connection, run_id: int, status: str, error: str | None, finished_at: datetime | None
) -> None:
    """Photos that were listed, are not done and do not remain, were known: other runs' doing included."""
    listed = connection.execute(select(runs.c.listed).where(runs.c.run_id == run_id)).scalar_one()
    values: dict[str, Any] = {"finished_at": finished_at, "status": status, "error": error}
    if listed is not None:
        done = select(func.coalesce(func.sum(shards.c.tagged + shards.c.quarantined), 0))
        handled = connection.execute(done.where(shards.c.run_id == run_id)).scalar_one()
        remaining = ledger.left_of(connection, run_id).photos
        values |= {"remaining": remaining, "known": listed - handled - remaining}
    connection.execute(update(runs).where(runs.c.run_id == run_id).values(values))


@dataclass(frozen=True)
class Handled:
    """What a run has done so far: photos that it took up, and those that failed with bytes that are new."""

    photos: int
    newly_quarantined: int


@outlasts_outages
def handled(engine: Engine, run_id: int) -> Handled:
    """See `Handled`."""
    columns = (shards.c.photos, shards.c.newly_quarantined)
    query = select(*(func.coalesce(func.sum(column), 0) for column in columns))
    with reading(engine) as connection:
        return Handled(*connection.execute(query.where(shards.c.run_id == run_id)).one())


@outlasts_outages
def record_listing(engine: Engine, run_id: int, source: str, listed: int, ignored: int) -> None:
    """Records the source's URI and what it held."""
    values = {"source": source, "listed": listed, "ignored": ignored}
    with writing(engine) as connection:
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(values))


@outlasts_outages
def sources(engine: Engine) -> list[str]:
    """The URIs of all sources that a run has listed, the last one first."""
    query = select(runs.c.source).where(runs.c.listed.is_not(None)).group_by(runs.c.source)
    with reading(engine) as connection:
        return list(connection.execute(query.order_by(func.max(runs.c.run_id).desc())).scalars())


def summary(engine: Engine, run_id: int) -> RunSummary:
    """One run of `run_history`."""
    return _select(engine, "WHERE run_id = :run_id", {"run_id": run_id})[0]


def history(engine: Engine, limit: int) -> list[RunSummary]:
    """The latest runs, newest first."""
    return _select(engine, "ORDER BY run_id DESC LIMIT :limit", {"limit": limit})


@outlasts_outages
def _select(engine: Engine, clauses: str, values: dict[str, int]) -> list[RunSummary]:
    columns = ", ".join(RunSummary.__dataclass_fields__)
    query = text(f"SELECT {columns} FROM run_history {clauses}").columns(
        started_at=runs.c.started_at.type, finished_at=runs.c.finished_at.type
    )
    with reading(engine) as connection:
        return [RunSummary(**row._mapping) for row in connection.execute(query, values)]
