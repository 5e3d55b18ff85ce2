"""INSERT .. ON CONFLICT: what is there stays, and what was inserted is counted."""

from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, literal

from fashion_clip.errors import CatalogAwayError, CatalogError
from tasks.catalog import inserts
from tasks.catalog.engine import writing
from tasks.catalog.inserts import insert_or_nothing, insert_tuples_or_nothing, upsert
from tasks.catalog.tables import contents, labels, work
from tests.catalogue_fixtures import new_run, rows


def digests(*names: str) -> list[dict[str, str]]:
    return [{"sha256": name} for name in names]


def planned(uri: str, run_id: int, claims: int = 0) -> dict[str, Any]:
    runs = {"first_run_id": run_id, "last_run_id": run_id}
    return {"uri": uri, "change_token": "t", "claims": claims} | runs


def label_row(content: int, label: int | None = 7, shard: int = 1) -> tuple[int | None, ...]:
    """A row of `labels` with one candidate."""
    return (1, content, 1, shard, 0, label, 3000, 9000, *[None] * 12)


def test_only_what_is_missing_is_inserted_and_counted(engine: Engine) -> None:
    with writing(engine) as connection:
        assert insert_or_nothing(connection, contents, digests("a", "b")) == 2
        assert insert_or_nothing(connection, contents, digests("b", "c", "a", "c")) == 1
        assert insert_or_nothing(connection, contents, digests("a")) == 0
    found = rows(engine, "SELECT sha256 FROM contents ORDER BY content_id")
    assert found == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize("count", [1000, 5001])
def test_many_rows_are_counted_one_by_one(engine: Engine, count: int) -> None:
    """Drivers put some hundreds of them into one statement."""
    names = [f"{number:05}" for number in range(count)]
    with writing(engine) as connection:
        assert insert_or_nothing(connection, contents, digests(*names[::2])) == len(names[::2])
        assert insert_or_nothing(connection, contents, digests(*names)) == len(names[1::2])
    assert rows(engine, "SELECT COUNT(*) FROM contents") == [(count,)]


def test_rows_that_are_tuples_are_inserted_where_they_are_missing(engine: Engine) -> None:
    with writing(engine) as connection:
        insert_tuples_or_nothing(connection, labels, [label_row(1), label_row(2)])
        insert_tuples_or_nothing(connection, labels, [label_row(2, label=9), label_row(3, label=9)])
    with writing(engine) as connection:
        insert_tuples_or_nothing(connection, labels, iter([label_row(4), label_row(1, label=9)]))
    assert rows(engine, "SELECT content_id, label_1, label_2 FROM labels ORDER BY 1") == [
        (1, 7, None),
        (2, 7, None),
        (3, 9, None),
        (4, 7, None),
    ]


def test_tuples_of_a_broken_transaction_do_not_come_back_in_the_next(engine: Engine) -> None:
    with writing(engine) as connection:
        insert_tuples_or_nothing(connection, labels, [label_row(1)])
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        insert_tuples_or_nothing(connection, labels, [label_row(2)])
        raise ZeroDivisionError
    with writing(engine) as connection:
        insert_tuples_or_nothing(connection, labels, [label_row(3)])
        insert_tuples_or_nothing(connection, labels, [label_row(4)])
    assert rows(engine, "SELECT content_id FROM labels ORDER BY 1") == [(1,), (3,), (4,)]


def test_a_tuple_that_the_table_refuses_is_told_as_the_database_s_error(engine: Engine) -> None:
    with pytest.raises(CatalogError, match=r"(?i)not.null") as caught, writing(engine) as connection:
        insert_tuples_or_nothing(connection, labels, [label_row(1), label_row(2, label=None)])
    assert not isinstance(caught.value, CatalogAwayError)
    assert rows(engine, "SELECT * FROM labels") == []


def test_an_upsert_changes_the_columns_it_names_and_no_other(engine: Engine) -> None:
    first, second = new_run(engine), new_run(engine)
    with writing(engine) as connection:
        upsert(connection, work, [planned(uri, first) for uri in "ab"], ["uri"], ["last_run_id"])
        upsert(connection, work, [planned(uri, second, 5) for uri in "bc"], ["uri"], ["last_run_id"])
    found = rows(engine, "SELECT uri, first_run_id, last_run_id, claims FROM work ORDER BY work_id")
    assert found == [("a", first, first, 0), ("b", first, second, 0), ("c", second, second, 5)]


def test_an_upsert_may_reckon_with_what_is_there(engine: Engine) -> None:
    run_id = new_run(engine)
    with writing(engine) as connection:
        connection.execute(insert(work), [planned("a", run_id, 3), planned("b", run_id, 4)])
        new = [planned("b", run_id, 10), planned("c", run_id, 20)]
        upsert(connection, work, new, ["uri"], lambda new: {"claims": work.c.claims + new["claims"]})
        upsert(connection, work, new, ["uri"], lambda _: {"change_token": literal("t2")})
    found = rows(engine, "SELECT uri, claims, change_token FROM work ORDER BY uri")
    assert found == [("a", 3, "t"), ("b", 14, "t2"), ("c", 20, "t2")]


def test_no_rows_are_no_statement(engine: Engine) -> None:
    statements: list[str] = []
    with writing(engine) as connection:
        event.listen(connection, "before_cursor_execute", lambda *told: statements.append(told[2]))
        assert insert_or_nothing(connection, contents, []) == 0
        insert_tuples_or_nothing(connection, labels, iter(()))
        upsert(connection, work, [], ["uri"], ["claims"])
        assert statements == []
        insert_tuples_or_nothing(connection, labels, iter([label_row(1)]))
        assert statements


def test_tuples_are_given_to_the_driver_some_at_a_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inserts, "ROWS_AT_ONCE", 2)
    with writing(engine) as connection:
        insert_tuples_or_nothing(connection, labels, (label_row(number) for number in range(1, 6)))
    found = rows(engine, "SELECT content_id FROM labels ORDER BY content_id")
    assert found == [(number,) for number in range(1, 6)]
