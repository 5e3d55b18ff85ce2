"""What is spelled otherwise on SQLite and on PostgreSQL, or is there on one of them only."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tasks.catalog.engine import reading, writing
from tasks.catalog.tables import UtcDateTime

DATABASES = ["sqlite", "postgresql"]
ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

COMMIT = "COMMIT\0"  # as PostgreSQL is sent it, unlike the ON COMMIT of another statement: for FaultProxy

Passing = Callable[[], AbstractContextManager[Engine]]

NO_SUCH_TABLE = r"no such table: nothing_here|relation \"nothing_here\" does not exist"


def is_postgresql(engine: Engine) -> bool:
    return engine.dialect.name == "postgresql"


def refuse(engine: Engine, event: str, table: str) -> None:
    """From now on an INSERT, UPDATE or DELETE, as `event` says, of any row of the table fails: `refused`."""
    if is_postgresql(engine):
        raising = "$$ BEGIN RAISE EXCEPTION 'refused'; END $$"
        run(engine, f"CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS {raising}")
        action = "FOR EACH ROW EXECUTE FUNCTION refused()"
    else:
        action = "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    run(engine, f"CREATE TRIGGER refuse BEFORE {event} ON {table} {action}")


def allow_again(engine: Engine, table: str) -> None:
    """Takes back `refuse`."""
    run(engine, f"DROP TRIGGER refuse ON {table}" if is_postgresql(engine) else "DROP TRIGGER refuse")


def run(engine: Engine, *statements: str) -> None:
    """The statements as they are, in one transaction."""
    with writing(engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def moments(engine: Engine, query: str, *columns: str, **values: object) -> list[tuple[Any, ...]]:
    """The rows of a query some of whose columns are points in time, as which SQLite does not know them."""
    typed = text(query).columns(**dict.fromkeys(columns, UtcDateTime()))
    with reading(engine) as connection:
        return [tuple(row) for row in connection.execute(typed, values)]


def moment(engine: Engine, query: str, **values: object) -> datetime | None:
    """The one point in time that a query gives as `at`."""
    [(at,)] = moments(engine, query, "at", **values)
    assert at is None or isinstance(at, datetime)
    return at


def moves_on(engine: Engine, query: str) -> None:
    """Returns when the point in time that the query gives as `at` has become a later one."""
    before, deadline = moment(engine, query), time.monotonic() + 30
    assert before is not None
    while (at := moment(engine, query)) is None or at <= before:
        assert time.monotonic() < deadline, f"it is {at} and stays so"
