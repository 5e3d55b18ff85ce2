"""Connections: pragmas, transactions that are whole or nothing, and errors without a password in them."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select, text, update

from fashion_clip.errors import CatalogError, UsageError
from tasks.catalog import engine as engine_module
from tasks.catalog.engine import connect, reading, writing
from tasks.catalog.tables import contents, runs
from tests.catalogue_fixtures import new_run, rows


@pytest.mark.parametrize(
    "url",
    ["", "fashion_clip.db", "mysql://u:hush@host/x", "sqlite:///nowhere/x.db", "//u:hush@host"],
)
def test_what_cannot_be_a_catalogue_is_refused_without_its_password(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UsageError, CatalogError)) as caught:
        connect(url)
    assert "hush" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:hush@host:port/x",  # the port is no number
        "postgresql+nodriver://u:hush@host/x",
        "sqlite+nodriver:///x.db",
    ],
)
def test_a_url_that_sqlalchemy_cannot_follow_is_wrong_use(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        connect(url)
    assert "hu" not in str(caught.value)
    assert caught.value.__cause__ is None  # with --debug the cause would be shown


def test_a_file_that_is_no_database_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is no database, however long it is. " * 100)
    with pytest.raises(CatalogError, match="not a database"), reading(connect(f"sqlite:///{tmp_path}/x.db")):
        pass


def test_sqlite_is_set_to_keep_what_was_committed_and_to_wait_for_its_turn(engine: Engine) -> None:
    settings = {
        name: rows(engine, f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert settings == {"journal_mode": [("wal",)], "synchronous": [(2,)], "foreign_keys": [(1,)]}
    assert rows(engine, "PRAGMA busy_timeout") == [(30_000,)]


def test_a_broken_transaction_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        connection.execute(insert(contents), {"sha256": "a"})
        raise ZeroDivisionError
    assert rows(engine, "SELECT * FROM contents") == []


def test_tables_made_in_a_broken_transaction_are_gone_too(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        connection.execute(text("CREATE TABLE half_made (x)"))
        raise ZeroDivisionError
    assert rows(engine, "SELECT name FROM sqlite_master WHERE name = 'half_made'") == []


def test_a_reader_sees_one_state_while_another_writes(engine: Engine) -> None:
    with reading(engine) as reader:
        assert reader.execute(select(contents)).all() == []
        with writing(engine) as writer:
            writer.execute(insert(contents), {"sha256": "a"})
        assert reader.execute(select(contents)).all() == []
    assert len(rows(engine, "SELECT * FROM contents")) == 1


def test_writers_take_turns_and_lose_no_change(engine: Engine) -> None:
    run_id = new_run(engine)
    with writing(engine) as connection:
        connection.execute(update(runs).values(listed=0))

    def add_one(_: int) -> None:
        with writing(engine) as connection:
            listed = connection.execute(select(runs.c.listed)).scalar_one()
            connection.execute(update(runs).where(runs.c.run_id == run_id).values(listed=listed + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(40)))
    assert rows(engine, "SELECT listed FROM runs") == [(40,)]


def test_a_database_locked_for_too_long_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_MS", 50)
    engine.dispose()
    other = sqlite3.connect(str(engine.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CatalogError, match=r"catalogue\.db.*locked"), writing(engine):
        pass
    other.execute("ROLLBACK")
    with writing(engine) as connection:
        connection.execute(insert(contents), {"sha256": "a"})
    other.close()


def test_a_missing_table_is_told_with_the_database(engine: Engine) -> None:
    with pytest.raises(CatalogError, match=r"catalogue\.db: no such table: nothing_here"):
        rows(engine, "SELECT * FROM nothing_here")


def test_rows_that_refer_to_nothing_are_refused(engine: Engine) -> None:
    with pytest.raises(Exception, match="FOREIGN KEY"), writing(engine) as connection:
        connection.execute(text("INSERT INTO work (uri, run_id) VALUES ('file:///x.jpg', 99)"))
    assert rows(engine, "SELECT * FROM work") == []
