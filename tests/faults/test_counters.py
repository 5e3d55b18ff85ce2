"""What databases count of themselves is what was done to them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, text

from fashion_clip.errors import CatalogAwayError
from tasks.catalog import schema
from tasks.catalog.engine import writing
from tests.catalogue_fixtures import connected, new_run
from tests.faults.counters import count_writes, deadlocks, writes
from tests.faults.databases import databases


@pytest.fixture
def kind() -> str:
    """Of database; a test may name another."""
    return "postgresql"


@pytest.fixture
def engine(kind: str, tmp_path: Path) -> Iterator[Engine]:
    """An empty catalogue in a database that nobody else is connected to."""
    with databases(kind, tmp_path) as made, connected(made.new("counted")) as engine:
        schema.upgrade(engine)
        yield engine


def run(engine: Engine, *statements: str) -> None:
    with writing(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_each_row_that_is_written_counts(engine: Engine) -> None:
    count_writes(engine)
    before = writes(engine)
    new_run(engine)
    engine.dispose()
    assert writes(engine) == before
    run(engine, "INSERT INTO contents (sha256) VALUES ('a'), ('b'), ('c')")
    run(engine, "UPDATE contents SET sha256 = 'd' WHERE sha256 = 'c'", "DELETE FROM contents")
    engine.dispose()
    assert writes(engine) == before + 3 + 1 + 3


def test_a_deadlock_counts(engine: Engine) -> None:
    run(engine, "INSERT INTO contents (sha256) VALUES ('a'), ('b')")
    assert deadlocks(engine) == 0
    both_hold_one = Barrier(2)

    def lock(first: str, second: str) -> bool:
        try:
            with writing(engine) as connection:
                connection.execute(text(f"UPDATE contents SET sha256 = sha256 WHERE sha256 = '{first}'"))
                both_hold_one.wait(timeout=30)
                connection.execute(text(f"UPDATE contents SET sha256 = sha256 WHERE sha256 = '{second}'"))
        except CatalogAwayError:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        came_through = [future.result() for future in [threads.submit(lock, *pair) for pair in ("ab", "ba")]]
    engine.dispose()
    assert sorted(came_through) == [False, True]
    assert deadlocks(engine) == 1
