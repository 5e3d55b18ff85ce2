"""The schema: what migrations make is what the code declares, and no database is touched by mistake."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

from fashion_clip.errors import CatalogError
from tasks.catalog import schema, tables
from tasks.catalog.engine import connect, reading, writing
from tasks.catalog.views import VIEWS
from tests.catalogue_fixtures import contents_of, new_run, rows

POSTGRESQL = make_url("postgresql+psycopg://").get_dialect()()

# What people's SQL may rely on. Columns may be added here, never taken away.
VIEW_COLUMNS = {
    "catalog_labels": "uri product_id sha256 attribute label similarity confidence decision model_version "
    "taxonomy_version run_id tagged_at",
    "label_candidates": "uri product_id sha256 attribute rank label similarity confidence model_version "
    "taxonomy_version",
    "label_counts": "attribute label photos",
    "label_history": "uri product_id sha256 attribute label similarity confidence decision model_version "
    "taxonomy_version run_id tagged_at served_from served_to",
    "quarantined_images": "uri reason detail attempts first_failed_at last_failed_at",
    "model_history": "version encoder rung parent role promoted_at retired_at",
    "run_history": "run_id flow source started_at finished_at status listed ignored known embedded tagged "
    "quarantined remaining error prefect_flow_run_id",
}


def blank(folder: Path) -> Engine:
    return connect(f"sqlite:///{folder / 'blank.db'}")


def data_version(connection: sqlite3.Connection) -> int:
    """Differs as soon as any other connection has changed the database."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def shape(engine: Engine) -> dict[str, Any]:
    """All of a schema that SQLite tells of, alembic's own table left out."""
    seen = inspect(engine)
    return {
        name: {
            "columns": [
                (c["name"], str(c["type"]), c["nullable"], c["default"]) for c in seen.get_columns(name)
            ],
            "key": seen.get_pk_constraint(name),
            "foreign": sorted(map(repr, seen.get_foreign_keys(name))),
            "unique": sorted(map(repr, seen.get_unique_constraints(name))),
            "checks": sorted(map(repr, seen.get_check_constraints(name))),
            "indexes": sorted(map(repr, seen.get_indexes(name))),
            "without_rowid": seen.get_table_options(name),
        }
        for name in seen.get_table_names()
        if name != "alembic_version"
    }


def test_the_migrations_make_what_the_tables_declare(engine: Engine, tmp_path: Path) -> None:
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
    declared = blank(tmp_path)
    tables.metadata.create_all(declared)
    assert shape(engine) == shape(declared)


def test_labels_are_stored_in_the_order_of_their_key(engine: Engine) -> None:
    [(made,)] = rows(engine, "SELECT sql FROM sqlite_master WHERE name = 'labels'")
    assert "WITHOUT ROWID" in made
    assert inspect(engine).get_pk_constraint("labels")["constrained_columns"] == [
        "label_set_id",
        "content_id",
        "attribute_id",
    ]


def test_an_upgrade_is_told_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    engine = blank(tmp_path)
    assert schema.upgrade(engine) == (None, schema.head())
    new_run(engine)
    before, rows_before = shape(engine), contents_of(engine)
    assert schema.upgrade(engine) == (schema.head(), schema.head())
    assert (shape(engine), contents_of(engine)) == (before, rows_before)
    assert set(inspect(engine).get_view_names()) == set(VIEWS)


def test_an_upgrade_that_breaks_off_leaves_the_old_schema(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(inspect(engine).get_view_names())
    monkeypatch.setitem(VIEWS, "run_history", "SELECT no_such_column FROM runs WHERE")
    with pytest.raises(CatalogError):
        schema.upgrade(engine)
    assert set(inspect(engine).get_view_names()) == before
    assert rows(engine, "SELECT run_id FROM run_history") == []


def test_an_empty_database_gets_the_schema(tmp_path: Path) -> None:
    engine = blank(tmp_path)
    schema.require_current(engine)
    assert set(inspect(engine).get_table_names()) == {*tables.metadata.tables, "alembic_version"}


def test_a_current_database_is_only_looked_at(engine: Engine) -> None:
    watcher = sqlite3.connect(str(engine.url.database))
    before = data_version(watcher)
    schema.require_current(engine)
    assert data_version(watcher) == before
    watcher.close()


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    engine = blank(tmp_path)
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE customers (id INTEGER)"))
    with pytest.raises(
        CatalogError, match=r"blank\.db holds tables of something else; give another database"
    ):
        schema.require_current(engine)
    assert rows(engine, "SELECT name FROM sqlite_master") == [("customers",)]


def test_an_upgrade_leaves_a_database_of_something_else_alone_too(tmp_path: Path) -> None:
    engine = blank(tmp_path)
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE customers (id INTEGER)"))
        connection.execute(text("CREATE VIEW run_history AS SELECT 1 AS theirs"))
    with pytest.raises(CatalogError, match="something else"):
        schema.upgrade(engine)
    assert rows(engine, "SELECT theirs FROM run_history") == [(1,)]


@pytest.fixture
def of_the_future(engine: Engine) -> Engine:
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    return engine


def test_an_unknown_revision_is_refused_with_what_to_do(of_the_future: Engine) -> None:
    with pytest.raises(CatalogError, match=r"revision 9999, which this program does not know.*newer"):
        schema.require_current(of_the_future)


def test_an_older_revision_is_refused_with_what_to_do(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "head", lambda: "0002")  # as in a program that has one migration more
    with pytest.raises(
        CatalogError, match=r"revision 0001, this program needs 0002.*fashion-clip db upgrade"
    ):
        schema.require_current(engine)


def test_an_upgrade_from_an_unknown_revision_is_refused(of_the_future: Engine) -> None:
    with pytest.raises(CatalogError, match="9999"):
        schema.upgrade(of_the_future)
    assert set(inspect(of_the_future).get_view_names()) == set(VIEWS)


def test_every_view_is_part_of_the_contract() -> None:
    assert set(VIEWS) == set(VIEW_COLUMNS)


@pytest.mark.parametrize("view", VIEW_COLUMNS)
def test_a_view_has_the_columns_that_people_query(engine: Engine, view: str) -> None:
    columns = [column["name"] for column in inspect(engine).get_columns(view)]
    assert set(VIEW_COLUMNS[view].split()) <= set(columns)
    assert len(columns) == len(set(columns))


@pytest.mark.parametrize("name", list(tables.metadata.tables))
def test_a_table_can_be_spelled_for_postgresql(name: str) -> None:
    table = tables.metadata.tables[name]
    made = str(CreateTable(table).compile(dialect=POSTGRESQL))
    assert f"CREATE TABLE {name}" in made
    for index in table.indexes:
        assert str(CreateIndex(index).compile(dialect=POSTGRESQL)).startswith("CREATE INDEX")
    if "uri" in table.c:  # merged with listings in byte order, whatever the server's language
        assert 'uri TEXT COLLATE "C"' in made


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_spelled_in_what_both_databases_understand(view: str) -> None:
    made = text(f"CREATE VIEW {view} AS {VIEWS[view]}").compile(dialect=POSTGRESQL)
    assert made.params == {}  # a colon in the text would be taken for a parameter
    assert not {"IFNULL", "GROUP_CONCAT", "STRFTIME", "GLOB", "ROWID", "DATETIME"} & set(
        str(made).upper().split()
    )


def test_one_label_set_is_served_at_most(engine: Engine) -> None:
    set_up = (
        "INSERT INTO encoders VALUES (1, 'e', 4, '2026-01-01')",
        "INSERT INTO model_versions VALUES (1, 'm', 'f', 'c', 1, 'zero-shot', NULL, '2026-01-01')",
        "INSERT INTO taxonomies VALUES (1, 'v', 't', '{}', '2026-01-01')",
        "INSERT INTO label_sets VALUES (1, 1, 1, 'complete', '2026-01-01', NULL)",
        "INSERT INTO served_label_set VALUES (1, 1)",
    )
    with writing(engine) as connection:
        for statement in set_up:
            connection.execute(text(statement))
    for second in (1, 2):
        with pytest.raises((SQLAlchemyError, CatalogError)), writing(engine) as connection:
            connection.execute(text(f"INSERT INTO served_label_set VALUES ({second}, 1)"))
    assert rows(engine, "SELECT * FROM served_label_set") == [(1, 1)]


def test_a_status_is_one_of_those_that_are_known(engine: Engine) -> None:
    run_id = new_run(engine)
    with pytest.raises((SQLAlchemyError, CatalogError), match="CHECK"), writing(engine) as connection:
        connection.execute(text("UPDATE runs SET status = 'finished'"))
    assert rows(engine, "SELECT run_id, status FROM runs") == [(run_id, "running")]
