"""Connections to the catalogue: SQLite (WAL) or PostgreSQL, by URL; and what outlasts their outages."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, Transaction, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from tenacity import (
    Retrying,
    retry_if_exception_message,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from fashion_clip.errors import CatalogAwayError, CatalogError, UsageError
from fashion_clip.machine import local_path
from tasks.catalog.vectors import adapt_connection

BUSY_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_S = 10
OUTAGE_S = 150.0  # how long a write or read in the middle of a run waits for its database to come back
LONGEST_WAIT_S = 5.0  # between two tries
_ADVISORY_LOCK = int.from_bytes(b"fashion!")  # any number that no other program in the database takes

# SQLSTATE: connection lost, server shutting down or starting, too many connections, a transaction that was
# idle for too long, and the two ways in which one has to be tried again because of another.
_PASSING_STATES = ("08", "57P0", "53300", "25P03", "40001", "40P01")
# What a server, or the library that talks to it, says when it takes no connection.
_REFUSALS = ("FATAL:", "no password supplied", "SSL was required", "invalid ")
# What a server says while it will soon take connections; any other refusal at connecting is for good.
_PASSING_REFUSALS = (
    "starting up",
    "shutting down",
    "recovery mode",
    "too many",
    "remaining connection slots",
)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def connect(url: str) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql+psycopg://...`.

    Raises:
        UsageError: not a database URL, or neither SQLite nor PostgreSQL.
        CatalogError: the folder of a SQLite file does not exist.
    """
    expected = "expected sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME in FASHION_CLIP_DATABASE_URL"
    try:
        parsed = make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite and parsed.database and parsed.database.startswith("~"):
            parsed = parsed.set(database=str(local_path(parsed.database)))
        # An error that holds the parameters would carry file names into Prefect's log.
        engine = create_engine(
            parsed,
            hide_parameters=True,
            pool_pre_ping=not sqlite,
            connect_args={} if sqlite else _arguments(parsed),
        )
    except (ArgumentError, ValueError, ImportError):
        # The text may hold a password, also where none is expected: it is not repeated.
        raise UsageError(f"the database URL cannot be used; {expected}") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(f"database {parsed.get_backend_name()!r} is not supported; {expected}")
    if sqlite:
        _require_file(parsed)
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _set_limits)
        event.listen(engine, "connect", adapt_connection)
        event.listen(engine, "begin", _begin_postgresql)
    return engine


# A connection whose other end went away without a word is noticed after a minute and not after hours: by the
# client, and by the server, which would keep the locks of a worker whose machine is gone, or which sleeps.
_CLIENT_LIMITS = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_SERVER_LIMITS = {
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


def _arguments(url: URL) -> dict[str, int]:
    """What the URL itself says comes first."""
    return {name: value for name, value in _CLIENT_LIMITS.items() if name not in url.query}


def _set_limits(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.autocommit = True
    for name, value in _SERVER_LIMITS.items():
        dbapi_connection.execute(f"SET {name} = '{value}'")
    dbapi_connection.autocommit = False


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
    # The busy timeout does not hold for this, which two programs that open a new file at once may both ask.
    Retrying(
        retry=retry_if_exception_message(match=".*locked"),
        stop=stop_after_delay(BUSY_TIMEOUT_MS / 1000),
        wait=wait_random_exponential(multiplier=0.01, max=0.2),
        reraise=True,
    )(cursor.execute, "PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # one commit a shard: an fsync costs little there
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA cache_size = -16384")  # KiB; with 64 MiB a large catalogue takes 100 MB more
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A read transaction that turns into a write fails at once when another wrote meanwhile, without waiting;
    # one that begins as a writer waits for its turn.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    # Of its own accord PostgreSQL gives each statement a snapshot of its own. The driver says it with BEGIN.
    from psycopg import IsolationLevel

    writes = connection.get_execution_options().get("writes", False)
    driver: Any = connection.connection.dbapi_connection  # also of one that left the pool
    driver.isolation_level = None if writes else IsolationLevel.REPEATABLE_READ


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: committed whole at the end, or nothing of it.

    An error at the commit itself may mean either: whoever tries again must find what was written.

    Raises:
        CatalogAwayError: the database cannot be reached, or is locked for longer than 30 s.
        CatalogError: it refuses.
    """
    with _reported(engine), engine.execution_options(writes=True).begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One snapshot to read from. Raises CatalogError as `writing` does."""
    with _reported(engine), engine.connect() as connection:
        yield connection


@contextmanager
def by_itself(engine: Engine) -> Iterator[Connection]:
    """A connection that nobody has had or will have: its temporary tables go with it. It begins by reading.

    Raises CatalogError as `writing` does.
    """
    with _reported(engine), engine.connect() as connection:
        connection.detach()
        yield connection


@contextmanager
def writing_now(connection: Connection) -> Iterator[Transaction]:
    """`writing` on a connection that has read so far; its temporary tables are kept."""
    connection.commit()
    with connection.execution_options(writes=True).begin() as transaction:
        yield transaction


@contextmanager
def _reported(engine: Engine) -> Iterator[None]:
    # The driver's own errors come bare from _set_pragmas and from COPY.
    driver = engine.dialect.loaded_dbapi
    try:
        yield
    except (DBAPIError, driver.Error) as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        kind = CatalogAwayError if lost or _is_passing(original) else CatalogError
        raise kind(f"database {shown(engine)}: {' '.join(str(original).split())}") from error


def _is_passing(error: BaseException | None) -> bool:
    """True where the same may succeed a little later."""
    told = str(error)
    if isinstance(error, sqlite3.Error):
        return "locked" in told
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return bool(state.startswith(_PASSING_STATES))
    if "Temporary failure in name resolution" in told:
        return True
    if "connection" not in told:  # a connection that was never made, or was lost, has no state
        return False
    for_good = any(refusal in told for refusal in _REFUSALS)
    return not for_good or any(refusal in told for refusal in _PASSING_REFUSALS)


def outlasts_outages(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Makes a function that is safe to repeat try again while the database is away, for up to OUTAGE_S.

    Waits are random and grow (full jitter: https://aws.amazon.com/builders-library/ on timeouts, retries and
    backoff), so that many workers do not come back at the same instant.
    """

    @wraps(function)
    def outlasting(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        attempts = Retrying(
            retry=retry_if_exception_type(CatalogAwayError),
            stop=stop_after_delay(OUTAGE_S),
            wait=wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT_S),
            reraise=True,
        )
        return attempts(function, *args, **kwargs)

    return outlasting


def clock(connection: Connection) -> datetime:
    """The time now, by the one clock that all workers of a catalogue share: leases are told by it."""
    if connection.dialect.name == "postgresql":
        now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)
    return datetime.now(UTC)


def one_at_a_time(connection: Connection) -> None:
    """Makes this transaction wait for others that called this: for what two programs may begin at once.

    SQLite has one writer at a time as it is.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
