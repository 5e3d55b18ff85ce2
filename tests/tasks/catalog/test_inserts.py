"""INSERT .. ON CONFLICT: what is there stays, and what was inserted is counted."""

from sqlalchemy import Engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import make_url

from tasks.catalog.engine import writing
from tasks.catalog.inserts import _insert, insert_or_nothing, upsert
from tasks.catalog.tables import contents, work
from tests.catalogue_fixtures import new_run, rows

POSTGRESQL = make_url("postgresql+psycopg://").get_dialect()()


def digests(*names: str) -> list[dict[str, str]]:
    return [{"sha256": name} for name in names]


def test_only_what_is_missing_is_inserted_and_counted(engine: Engine) -> None:
    with writing(engine) as connection:
        assert insert_or_nothing(connection, contents, digests("a", "b")) == 2
        assert insert_or_nothing(connection, contents, digests("b", "c", "a", "c")) == 1
        assert insert_or_nothing(connection, contents, digests("a")) == 0
    assert rows(engine, "SELECT sha256, content_id FROM contents ORDER BY 2") == [
        ("a", 1),
        ("b", 2),
        ("c", 3),
    ]


def test_an_upsert_changes_the_columns_it_names_and_no_other(engine: Engine) -> None:
    first, second = new_run(engine), new_run(engine)
    with writing(engine) as connection:
        upsert(connection, work, [{"uri": uri, "run_id": first} for uri in "ab"], ["uri"], ["run_id"])
        upsert(connection, work, [{"uri": uri, "run_id": second} for uri in "bc"], ["uri"], ["run_id"])
    assert rows(engine, "SELECT uri, run_id FROM work ORDER BY uri") == [
        ("a", first),
        ("b", second),
        ("c", second),
    ]
    assert rows(engine, "SELECT work_id FROM work WHERE uri = 'b'") == [(2,)]


def test_no_rows_are_no_statement(engine: Engine) -> None:
    with writing(engine) as connection:
        assert insert_or_nothing(connection, contents, []) == 0
        upsert(connection, work, [], ["uri"], ["run_id"])
    assert rows(engine, "SELECT * FROM work") == []


def test_postgresql_is_spelled_in_its_own_dialect(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.dialect = POSTGRESQL
        statement = _insert(connection, contents).on_conflict_do_nothing()
    assert isinstance(statement, postgresql.Insert)
    compiled = str(statement.compile(dialect=POSTGRESQL))
    assert compiled.endswith("ON CONFLICT DO NOTHING")
