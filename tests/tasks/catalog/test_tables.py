"""Times go into the database in UTC and come out aware, whatever zone they were told in."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update
from sqlalchemy.dialects import sqlite

from tasks.catalog.engine import reading, writing
from tasks.catalog.tables import UtcDateTime, runs
from tests.catalogue_fixtures import new_run, rows

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


def test_a_time_of_another_zone_is_stored_in_utc(engine: Engine) -> None:
    run_id = new_run(engine)
    told = datetime(2026, 7, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    with writing(engine) as connection:
        connection.execute(update(runs).where(runs.c.run_id == run_id).values(finished_at=told))
    assert rows(engine, "SELECT finished_at FROM runs") == [("2026-06-30 23:30:00.000000",)]
    with reading(engine) as connection:
        read = connection.execute(select(runs.c.finished_at)).scalar_one()
    assert read == told
    assert read.tzinfo is UTC
