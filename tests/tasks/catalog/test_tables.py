"""Times go into the database in UTC and come out aware, whatever zone they were told in."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.dialects import sqlite

from tasks.catalog.engine import reading, writing
from tasks.catalog.tables import UtcDateTime, runs, work
from tests.catalogue_fixtures import new_run, rows
from tests.tasks.catalog.databases import ON_POSTGRESQL, ON_SQLITE, Passing, is_postgresql, run

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=ZONES)


@settings(deadline=None)
@given(TIMES, TIMES)
def test_a_time_comes_back_the_same_and_text_sorts_as_time_does(one: datetime, other: datetime) -> None:
    column, dialect = UtcDateTime(), sqlite.dialect()
    to_text = column.dialect_impl(dialect).bind_processor(dialect)
    to_time = column.dialect_impl(dialect).result_processor(dialect, None)
    assert to_text is not None
    assert to_time is not None
    assert to_time(to_text(one)) == one
    assert (to_text(one) < to_text(other)) == (one < other)


@settings(max_examples=15, deadline=None)
@given(times=st.lists(TIMES, min_size=1, max_size=10))
def test_times_come_back_from_the_database_in_their_order(passing: Passing, times: list[datetime]) -> None:
    with passing() as engine:
        with writing(engine) as connection:
            begun = {"flow": "f", "status": "completed", "started_at": times[0]}
            connection.execute(insert(runs), [begun | {"finished_at": time} for time in times])
        with reading(engine) as connection:
            read = list(connection.execute(select(runs.c.finished_at).order_by(runs.c.finished_at)).scalars())
        assert read == sorted(times)
        assert all(time.tzinfo is UTC for time in read)


@ON_SQLITE
def test_a_time_of_another_zone_is_stored_in_utc(engine: Engine) -> None:
    new_run(engine)
    told = datetime(2026, 7, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    with writing(engine) as connection:
        connection.execute(update(runs).values(finished_at=told))
    assert rows(engine, "SELECT finished_at FROM runs") == [("2026-06-30 23:30:00.000000",)]


def test_a_time_is_read_in_utc_whatever_the_server_s_zone(engine: Engine) -> None:
    new_run(engine)
    told = datetime(2026, 7, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    if is_postgresql(engine):
        run(engine, f"ALTER DATABASE {engine.url.database} SET timezone = 'Asia/Kolkata'")
        engine.dispose()
    with writing(engine) as connection:
        connection.execute(update(runs).values(finished_at=told))
    with reading(engine) as connection:
        read = connection.execute(select(runs.c.finished_at)).scalar_one()
    assert read == told
    assert read.tzinfo is UTC


@ON_POSTGRESQL
def test_names_are_in_byte_order_whatever_the_server_s_language(engine: Engine) -> None:
    names = ["a", "B", "a-b", "a b", "A", "~", "%FF", "a/", "a0", "_"]
    run_id = new_run(engine)
    with writing(engine) as connection:
        planned = {"change_token": "t", "first_run_id": run_id, "last_run_id": run_id, "claims": 0}
        connection.execute(insert(work), [planned | {"uri": name} for name in names])
    with reading(engine) as connection:
        assert list(connection.execute(select(work.c.uri).order_by(work.c.uri)).scalars()) == sorted(names)
    collations = rows(
        engine, "SELECT table_name, collation_name FROM information_schema.columns WHERE column_name = 'uri'"
    )
    assert {("photos", "C"), ("work", "C")} <= set(collations)
