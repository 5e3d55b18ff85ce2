"""INSERT .. ON CONFLICT, which SQLite and PostgreSQL both have and SQLAlchemy spells twice."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_or_nothing(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> int:
    """Inserts the rows whose keys are not there yet; returns how many were."""
    if not rows:
        return 0
    return connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows).rowcount


def upsert(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], key: list[str], changes: list[str]
) -> None:
    """Inserts rows; where the `key` columns are there already, sets the columns in `changes`."""
    if not rows:
        return
    insert = _insert(connection, table)
    values = {column: insert.excluded[column] for column in changes}
    connection.execute(insert.on_conflict_do_update(index_elements=key, set_=values), rows)


def _insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
