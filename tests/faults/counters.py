"""What databases count of themselves: rows that were written, and deadlocks."""

import time

from sqlalchemy import Connection, Engine, text

from tasks.catalog.engine import reading, writing
from tasks.catalog.tables import metadata

NOT_COUNTED = "runs"  # every run writes its own row there, whatever it finds to do


def count_writes(engine: Engine) -> None:
    """Makes SQLite count from here on, by triggers; PostgreSQL always does."""
    if engine.dialect.name != "sqlite":
        return
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE writes (rows INTEGER NOT NULL)"))
        connection.execute(text("INSERT INTO writes VALUES (0)"))
        for table in metadata.tables.keys() - {NOT_COUNTED}:
            for what in ("INSERT", "UPDATE", "DELETE"):
                counts = "BEGIN UPDATE writes SET rows = rows + 1; END"
                connection.execute(text(f"CREATE TRIGGER {table}_{what} AFTER {what} ON {table} {counts}"))


def writes(engine: Engine) -> int:
    """Rows inserted, updated and deleted so far, those of NOT_COUNTED left out."""
    with reading(engine) as connection:
        if engine.dialect.name == "sqlite":
            return int(connection.execute(text("SELECT rows FROM writes")).scalar_one())
        _wait_to_be_alone(connection)
        query = text(
            "SELECT SUM(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE relname <> :name"
        )
        return int(connection.execute(query, {"name": NOT_COUNTED}).scalar_one())


def deadlocks(engine: Engine) -> int:
    """How many there have been. SQLite, with one writer at a time, knows none."""
    if engine.dialect.name == "sqlite":
        return 0
    with reading(engine) as connection:
        _wait_to_be_alone(connection)
        query = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(connection.execute(query).scalar_one())


def _wait_to_be_alone(connection: Connection) -> None:
    """A session of PostgreSQL tells what it has counted at the latest before it is seen to have ended."""
    query = text(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + 30
    while connection.execute(query).scalar_one():
        assert time.monotonic() < deadline, "somebody else is connected to the database"
        time.sleep(0.05)
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))
