"""Connections: transactions that are whole or nothing, which errors pass, and none with a password in it."""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier

import pytest
from sqlalchemy import Engine, insert, select, text, update
from sqlalchemy.engine import make_url

from fashion_clip.errors import CatalogAwayError, CatalogError, UsageError
from tasks.catalog import engine as engine_module
from tasks.catalog.engine import clock, connect, one_at_a_time, outlasts_outages, reading, shown, writing
from tasks.catalog.tables import contents, runs
from tests.catalogue_fixtures import connected, new_database, new_run, rows
from tests.servers.postgres import PASSWORD, PostgresServer, postgres
from tests.servers.proxy import FaultProxy
from tests.tasks.catalog.databases import COMMIT, NO_SUCH_TABLE, ON_POSTGRESQL, ON_SQLITE, run


@pytest.mark.parametrize(
    "url",
    [
        "",
        "fashion_clip.db",
        "mysql://u:hush@host/x",
        "sqlite:///nowhere/x.db",
        "sqlite:///~nobody-there/x.db",
        "//u:hush@host",
    ],
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


def test_a_file_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with connected("sqlite:///~/x.db") as engine, writing(engine) as connection:
        connection.execute(text("CREATE TABLE x (y INTEGER)"))
    assert [file.name for file in tmp_path.iterdir()] == ["x.db"]


def test_a_file_that_is_no_database_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is no database, however long it is. " * 100)
    with pytest.raises(CatalogError, match="not a database"), reading(connect(f"sqlite:///{tmp_path}/x.db")):
        pass


# Transactions -----------------------------------------------------------------------------------------------


@ON_SQLITE
def test_sqlite_is_set_to_keep_what_was_committed_and_to_wait_for_its_turn(engine: Engine) -> None:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    with connected(str(engine.url)) as other:  # with nothing that tests add
        settings = {name: rows(other, f"PRAGMA {name}")[0][0] for name in names}
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_a_broken_transaction_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        connection.execute(insert(contents), {"sha256": "a"})
        raise ZeroDivisionError
    assert rows(engine, "SELECT * FROM contents") == []


def test_tables_made_in_a_broken_transaction_are_gone_too(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        connection.execute(text("CREATE TABLE nothing_here (x INTEGER)"))
        raise ZeroDivisionError
    with pytest.raises(CatalogError, match=NO_SUCH_TABLE):
        rows(engine, "SELECT * FROM nothing_here")


def test_a_reader_sees_one_state_while_another_writes(engine: Engine) -> None:
    with reading(engine) as reader:
        assert reader.execute(select(contents)).all() == []
        with writing(engine) as writer:
            writer.execute(insert(contents), {"sha256": "a"})
        assert reader.execute(select(contents)).all() == []
    assert len(rows(engine, "SELECT * FROM contents")) == 1


def test_a_writer_sees_what_was_committed_before_its_turn_came(engine: Engine) -> None:
    """On PostgreSQL as well, where a snapshot of the transaction's beginning would be too old by then."""
    with writing(engine) as connection:
        one_at_a_time(connection)
        connection.execute(insert(contents), {"sha256": "a"})
        with ThreadPoolExecutor(1) as pool:
            after = pool.submit(in_turn, engine)
            assert not after.done()
            connection.commit()
            assert after.result(30) == ["a"]


def in_turn(engine: Engine) -> list[str]:
    with writing(engine) as connection:
        one_at_a_time(connection)
        return list(connection.execute(select(contents.c.sha256)).scalars())


def test_writers_take_turns_and_lose_no_change(engine: Engine) -> None:
    run_id = new_run(engine)
    with writing(engine) as connection:
        connection.execute(update(runs).values(listed=0))

    def add_one(_: int) -> None:
        with writing(engine) as connection:
            one_at_a_time(connection)
            listed = connection.execute(select(runs.c.listed)).scalar_one()
            connection.execute(update(runs).where(runs.c.run_id == run_id).values(listed=listed + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(40)))
    assert rows(engine, "SELECT listed FROM runs") == [(40,)]


def test_the_clock_goes_on_within_a_transaction_and_never_back(engine: Engine) -> None:
    with reading(engine) as connection:
        times = [clock(connection) for _ in range(100)]
    assert times == sorted(times)
    assert times[0] < times[-1]
    assert all(str(time.tzinfo) == "UTC" for time in times)


def test_a_missing_table_is_told_with_the_database(engine: Engine) -> None:
    with pytest.raises(CatalogError, match=NO_SUCH_TABLE) as caught:
        rows(engine, "SELECT * FROM nothing_here")
    assert str(caught.value).startswith(f"database {shown(engine)}: ")
    assert str(engine.url.database) in shown(engine)
    assert "\n" not in str(caught.value)


def test_rows_that_refer_to_nothing_are_refused(engine: Engine) -> None:
    with pytest.raises(CatalogError, match=r"(?i)foreign key"), writing(engine) as connection:
        connection.execute(
            text(
                "INSERT INTO work (uri, change_token, first_run_id, last_run_id, claims)"
                " VALUES ('file:///x.jpg', 't', 99, 99, 0)"
            )
        )
    assert rows(engine, "SELECT * FROM work") == []


# What passes ------------------------------------------------------------------------------------------------


@ON_SQLITE
def test_a_database_locked_for_too_long_is_told_as_passing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_MS", 50)
    engine.dispose()
    other = sqlite3.connect(str(engine.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CatalogAwayError, match=r"catalogue\.db.*locked"), writing(engine):
        pass
    other.execute("ROLLBACK")
    with writing(engine) as connection:
        connection.execute(insert(contents), {"sha256": "a"})
    other.close()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that may be stopped, as nobody else is connected."""
    with TemporaryDirectory() as folder, postgres(Path(folder), fsync=False) as server:
        yield server


@pytest.fixture
def here(server: PostgresServer) -> Iterator[Engine]:
    """A blank database on `server`, which runs and has been connected to."""
    with connected(new_database(server)) as engine:
        run(engine, "CREATE TABLE kept (word TEXT)", "INSERT INTO kept VALUES ('kept')")
        yield engine


def told(function: Callable[[], object]) -> CatalogError:
    """The error that the function ends in, which must not show the password."""
    with pytest.raises(CatalogError) as caught:
        function()
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def is_passing(function: Callable[[], object]) -> bool:
    return isinstance(told(function), CatalogAwayError)


@pytest.mark.parametrize("death", ["stop", "kill"])
def test_a_server_that_is_down_is_away(here: Engine, server: PostgresServer, death: str) -> None:
    end = server.stop if death == "stop" else server.kill
    end()
    try:
        assert is_passing(lambda: rows(here, "SELECT 1"))
        here.dispose()
        assert is_passing(lambda: rows(here, "SELECT 1"))
    finally:
        server.start()
    assert rows(here, "SELECT word FROM kept") == [("kept",)]


@pytest.mark.parametrize("death", ["stop", "kill"])
def test_a_server_that_goes_down_in_the_middle_is_away_and_nothing_was_written(
    here: Engine, server: PostgresServer, death: str
) -> None:
    def half() -> None:
        with writing(here) as connection:
            connection.execute(text("INSERT INTO kept VALUES ('half')"))
            (server.stop if death == "stop" else server.kill)()
            try:
                connection.execute(text("INSERT INTO kept VALUES ('other half')"))
            finally:
                server.start()

    assert is_passing(half)
    assert rows(here, "SELECT word FROM kept") == [("kept",)]


def test_a_server_that_shuts_down_is_away(here: Engine, server: PostgresServer) -> None:
    """It lets those who are connected end, and takes nobody else."""
    with connected(here.url.render_as_string(hide_password=False)) as other, reading(here) as connection:
        connection.execute(text("SELECT 1"))
        postmaster = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGTERM)
        try:
            error = told(lambda: [rows(other, "SELECT 1") for _ in range(10_000)])
        finally:
            connection.close()
            here.dispose()
            other.dispose()
            server.stop()
            server.start()
    assert isinstance(error, CatalogAwayError)


def test_a_connection_that_the_server_ends_is_away(here: Engine) -> None:
    def ended() -> None:
        with writing(here) as connection:
            [backend] = connection.execute(text("SELECT pg_backend_pid()")).scalars()
            rows(here, f"SELECT pg_terminate_backend({backend}, 10000)")
            connection.execute(text("INSERT INTO kept VALUES ('lost')"))

    assert is_passing(ended)
    assert rows(here, "SELECT word FROM kept") == [("kept",)]


def test_a_deadlock_is_passing(here: Engine) -> None:
    run(here, "ALTER TABLE kept ADD n INTEGER", "INSERT INTO kept VALUES ('a', 0), ('b', 0)")
    both = Barrier(2)

    def lock(first: str, second: str) -> BaseException | None:
        try:
            with writing(here) as connection:
                connection.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
                connection.execute(text(f"UPDATE kept SET n = n + 1 WHERE word = '{first}'"))
                both.wait(30)
                connection.execute(text(f"UPDATE kept SET n = n + 1 WHERE word = '{second}'"))
        except CatalogError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(lock, "a", "b"), pool.submit(lock, "b", "a")]
        [error] = [error for end in ends if (error := end.result(30)) is not None]
    assert isinstance(error, CatalogAwayError)
    assert "deadlock" in str(error)
    assert rows(here, "SELECT n FROM kept WHERE n IS NOT NULL") == [(1,), (1,)]


def test_two_that_could_not_have_come_one_after_the_other_is_passing(here: Engine) -> None:
    def older() -> None:
        with writing(here) as connection:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
            connection.execute(text("SELECT * FROM kept"))
            run(here, "UPDATE kept SET word = 'first'")
            connection.execute(text("UPDATE kept SET word = 'second'"))

    assert is_passing(older)
    assert rows(here, "SELECT word FROM kept") == [("first",)]


def test_a_role_that_has_too_many_connections_is_passing(here: Engine) -> None:
    run(here, f"CREATE ROLE lonely LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 1")
    url = here.url.set(username="lonely").render_as_string(hide_password=False)
    with connected(url) as one, connected(url) as other:
        with reading(one) as connection:
            connection.execute(text("SELECT 1"))
            assert is_passing(lambda: rows(other, "SELECT 1"))
        one.dispose()
        assert rows(other, "SELECT 1") == [(1,)]
    run(here, "DROP ROLE lonely")


FAULTS = {
    "the connection is refused": "refuse",
    "it is closed while it is made": "cut:0",
    "it is reset while it is made": "rst:20",
    "it is closed after the password": "cut:200",
    "it is reset while the driver gets to know the server": "rst-before:pg_catalog.version()",
    "it is reset while the driver learns of vectors": "rst-before:pg_attribute",
}


@ON_POSTGRESQL
@pytest.mark.parametrize("fault", FAULTS)
def test_a_connection_that_cannot_be_made_is_away(
    engine: Engine, far: Engine, proxy: FaultProxy, fault: str
) -> None:
    proxy.mode = FAULTS[fault]
    assert is_passing(lambda: rows(far, "SELECT 1"))
    proxy.mode = "ok"
    assert rows(far, "SELECT 1") == [(1,)]


@ON_POSTGRESQL
@pytest.mark.parametrize("fault", ["rst-before", "rst-after"])
def test_a_commit_that_nobody_answers_is_passing_whatever_became_of_it(
    engine: Engine, far: Engine, proxy: FaultProxy, fault: str
) -> None:
    def write() -> None:
        with writing(far) as connection:
            connection.execute(insert(contents), {"sha256": "a"})

    rows(far, "SELECT 1")
    proxy.mode = f"{fault}:{COMMIT}:1"
    assert is_passing(write)
    assert rows(engine, "SELECT sha256 FROM contents") == ([("a",)] if fault == "rst-after" else [])


@ON_POSTGRESQL
def test_idle_connections_that_were_cut_are_made_anew_without_an_error(
    engine: Engine, far: Engine, proxy: FaultProxy
) -> None:
    rows(far, "SELECT 1")
    proxy.mode = "refuse"
    proxy.mode = "ok"
    assert rows(far, "SELECT 1") == [(1,)]


# What is for good -------------------------------------------------------------------------------------------


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number for each time that something outlasting asked the database; it gives up soon."""
    monkeypatch.setattr(engine_module, "OUTAGE_S", 1.0)
    return []


WRONG = {
    "password": {"password": "hush"},
    "role": {"username": "nobody"},
    "database": {"database": "nothing"},
    "no password": {"password": ""},
    "an option that there is not": {"query": {"no_such_option": "1"}},
    "an option's value": {"query": {"sslmode": "perhaps"}},
    "encryption that the server has not": {"query": {"sslmode": "require"}},
    "no such host": {"host": "no-such-host.invalid"},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_no_waiting_mends_is_told_at_once(
    postgres_server: PostgresServer, tries: list[int], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    url = make_url(postgres_server.url("empty_catalogue")).set(**WRONG[wrong])  # type: ignore[arg-type]

    @outlasts_outages
    def ask() -> None:
        tries.append(1)
        with connected(url.render_as_string(hide_password=False)) as engine:
            rows(engine, "SELECT 1")

    error = told(ask)
    assert not isinstance(error, CatalogAwayError)
    assert "hush" not in str(error)
    assert tries == [1]


@ON_POSTGRESQL
def test_a_password_in_the_query_of_the_url_is_not_shown(engine: Engine) -> None:
    url = engine.url.set(password=None).update_query_dict({"password": "hush"})
    with connected(url.render_as_string(hide_password=False)) as other:
        assert "hush" not in str(told(lambda: rows(other, "SELECT 1")))
        assert "hush" not in shown(other)


@pytest.mark.parametrize(
    ("statement", "message"),
    [("SELECT * FROM nothing_here", NO_SUCH_TABLE), ("SELEKT 1", "syntax error")],
)
def test_a_wrong_statement_is_told_at_once(
    engine: Engine, tries: list[int], statement: str, message: str
) -> None:
    @outlasts_outages
    def ask() -> None:
        tries.append(1)
        rows(engine, statement)

    with pytest.raises(CatalogError, match=message) as caught:
        ask()
    assert not isinstance(caught.value, CatalogAwayError)
    assert tries == [1]


PASSES = {
    "08006": True,  # connection failure
    "57P01": True,  # shut down by an administrator
    "57P03": True,  # cannot connect now
    "53300": True,  # too many connections
    "40001": True,  # serialization failure
    "40P01": True,  # deadlock
    "57014": False,  # cancelled by a person
    "53100": False,  # disk full
    "42501": False,  # no right to
    "23505": False,  # not unique
    "22P05": False,  # a character that there is not
}


@ON_POSTGRESQL
def test_what_postgresql_says_decides_by_its_code(engine: Engine) -> None:
    def raises(state: str) -> None:
        run(engine, f"DO $$ BEGIN RAISE EXCEPTION 'connection' USING ERRCODE = '{state}'; END $$")

    assert {state: is_passing(partial(raises, state)) for state in PASSES} == PASSES


# Outlasting -------------------------------------------------------------------------------------------------


def test_an_outage_is_outlasted_until_the_server_is_back(
    here: Engine, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LONGEST_WAIT_S", 0.01)
    tries = []

    @outlasts_outages
    def words(start_at: int) -> list[tuple[str]]:
        tries.append(1)
        if len(tries) == start_at:
            server.start()
        return rows(here, "SELECT word FROM kept")

    server.stop()
    assert words(4) == [("kept",)]
    assert len(tries) == 4


def test_an_outage_that_is_too_long_is_told(
    here: Engine, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "OUTAGE_S", 0.05)
    monkeypatch.setattr(engine_module, "LONGEST_WAIT_S", 0.01)
    tries = []

    @outlasts_outages
    def ask() -> None:
        tries.append(1)
        rows(here, "SELECT 1")

    server.stop()
    try:
        assert is_passing(ask)
    finally:
        server.start()
    assert len(tries) > 1


def test_what_is_no_outage_is_not_tried_again() -> None:
    tries = []

    @outlasts_outages
    def fail() -> None:
        tries.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert tries == [1]


@ON_POSTGRESQL
def test_a_worker_that_sleeps_in_a_transaction_does_not_keep_its_locks(engine: Engine) -> None:
    assert rows(engine, "SHOW idle_in_transaction_session_timeout") == [("1min",)]
    with pytest.raises(CatalogAwayError, match="idle-in-transaction"), writing(engine) as asleep:
        asleep.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
        backend = asleep.execute(text("SELECT pg_backend_pid()")).scalar_one()
        while rows(engine, "SELECT 1 FROM pg_stat_activity WHERE pid = :pid", pid=backend):
            pass
        asleep.execute(text("SELECT 1"))
