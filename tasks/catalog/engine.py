"""Connections to the catalogue: SQLite (WAL) or PostgreSQL, by URL."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from fashion_clip.errors import CatalogError, UsageError

BUSY_TIMEOUT_MS = 30_000


def connect(url: str) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql+psycopg://...`.

    Raises:
        UsageError: not a database URL, or neither SQLite nor PostgreSQL.
        CatalogError: the folder of a SQLite file does not exist.
    """
    expected = "expected sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME in FASHION_CLIP_DATABASE_URL"
    try:
        parsed = make_url(url)
        # An error that holds the parameters would carry file names into Prefect's log.
        engine = create_engine(
            parsed, hide_parameters=True, pool_pre_ping=parsed.get_backend_name() != "sqlite"
        )
    except (ArgumentError, ValueError, ImportError):
        # The text may hold a password, also where none is expected: it is not repeated.
        raise UsageError(f"the database URL cannot be used; {expected}") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(f"database {parsed.get_backend_name()!r} is not supported; {expected}")
    if parsed.get_backend_name() == "sqlite":
        _require_file(parsed)
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def shown(engine: Engine) -> str:
    """The database's URL to be shown: without a password, wherever in the URL it stands."""
    return engine.url.set(query={}).render_as_string(hide_password=True)


def _require_file(url: URL) -> None:
    if url.database in (None, "", ":memory:"):
        raise UsageError("a database in memory is gone with its connection; give a file: sqlite:///FILE")
    if not Path(url.database).parent.is_dir():
        raise CatalogError(f"no folder {str(Path(url.database).parent)!r} for the database; create it first")


def _set_pragmas(dbapi_connection: Any, _record: object) -> None:
    # The driver's own transaction handling starts none before SELECT or DDL; ours does (_begin_sqlite).
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # one commit a shard: an fsync costs little there
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA cache_size = -65536")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A read transaction that turns into a write fails at once when another wrote meanwhile, without waiting;
    # one that begins as a writer waits for its turn.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: committed whole at the end, or nothing of it.

    Raises:
        CatalogError: the database cannot be reached, refuses, or is locked for longer than 30 s.
    """
    with _reported(engine), engine.execution_options(writes=True).begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One snapshot to read from. Raises CatalogError if the database cannot be reached."""
    with _reported(engine), engine.connect() as connection:
        yield connection


@contextmanager
def _reported(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:  # the latter come bare from _set_pragmas
        told = str(error.orig if isinstance(error, DBAPIError) else error)
        raise CatalogError(f"database {shown(engine)}: {' '.join(told.split())}") from error
