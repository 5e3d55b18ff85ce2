"""Runs: begun, ended, and told in `run_history`. What a run did is counted by its shards."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, insert, select, text, update

from fashion_clip.errors import CatalogError, FashionClipError
from tasks.catalog import plan
from tasks.catalog.engine import reading, writing
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

    `source` is what was asked for, until `record_listing` knows the URI.
    """
    run_id = _start(engine, flow, source, prefect_flow_run_id)
    try:
        yield run_id
    except Exception as error:
        _finish_if_possible(engine, run_id, "failed", _told(error))
        raise
    except BaseException:  # Ctrl-C, or Prefect cancelling the flow
        _finish_if_possible(engine, run_id, "interrupted", None)
        raise
    _finish(engine, run_id, "completed", None)


def _start(engine: Engine, flow: str, source: str, prefect_flow_run_id: str | None) -> int:
    row = {
        "flow": flow,
        "source": source,
        "started_at": datetime.now(UTC),
        "status": "running",
        "prefect_flow_run_id": prefect_flow_run_id,
    }
    with writing(engine) as connection:
        return int(connection.execute(insert(runs).returning(runs.c.run_id), row).scalar_one())


def _told(error: Exception) -> str:
    if isinstance(error, FashionClipError):
        return str(error)
    return f"{type(error).__name__}: {error}"[:2000]


def _finish_if_possible(engine: Engine, run_id: int, status: str, error: str | None) -> None:
    # Where the database is what failed, the error on its way up must not be hidden by a second one.
    with suppress(CatalogError):
        _finish(engine, run_id, status, error)


def _finish(engine: Engine, run_id: int, status: str, error: str | None) -> None:
    """Photos that were listed, are not done and do not remain, were known.

    What a later run planned as well does not remain of this one: it is the later one's to do.
    """
    with writing(engine) as connection:
        run = connection.execute(select(runs.c.listed).where(runs.c.run_id == run_id)).one()
        values: dict[str, Any] = {"finished_at": datetime.now(UTC), "status": status, "error": error}
        if run.listed is not None:
            done = select(func.coalesce(func.sum(shards.c.tagged + shards.c.quarantined), 0))
            handled = connection.execute(done.where(shards.c.run_id == run_id)).scalar_one()
            remaining = plan.remaining(connection, run_id)
            values |= {"remaining": remaining, "known": run.listed - handled - remaining}
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(values))


def record_listing(engine: Engine, run_id: int, source: str, listed: int, ignored: int) -> None:
    """Records the source's URI and what it held."""
    values = {"source": source, "listed": listed, "ignored": ignored}
    with writing(engine) as connection:
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(values))


def summary(engine: Engine, run_id: int) -> RunSummary:
    """One run of `run_history`."""
    return _select(engine, "WHERE run_id = :run_id", {"run_id": run_id})[0]


def history(engine: Engine, limit: int) -> list[RunSummary]:
    """The latest runs, newest first."""
    return _select(engine, "ORDER BY run_id DESC LIMIT :limit", {"limit": limit})


def _select(engine: Engine, clauses: str, values: dict[str, int]) -> list[RunSummary]:
    columns = ", ".join(RunSummary.__dataclass_fields__)
    query = text(f"SELECT {columns} FROM run_history {clauses}").columns(
        started_at=runs.c.started_at.type, finished_at=runs.c.finished_at.type
    )
    with reading(engine) as connection:
        return [RunSummary(**row._mapping) for row in connection.execute(query, values)]
