"""The schema: what migrations make is what the code declares, and no database is touched by mistake."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import Any, TypeVar

import numpy as np
import pgvector.sqlalchemy  # noqa: F401 - with it `inspect` knows halfvec
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, MetaData, event, insert, inspect, select, text

from fashion_clip.errors import CatalogError
from tasks.catalog import ledger, plan, schema, tables
from tasks.catalog.commit import Counts, commit_shard
from tasks.catalog.engine import reading, writing
from tasks.catalog.models import LabelSet, begin, served
from tasks.catalog.runs import close_dead_runs
from tasks.catalog.vectors import VECTOR
from tasks.catalog.views import VIEWS
from tasks.sources import Listed
from tests.catalogue_fixtures import connected, contents_of, new_run, rows
from tests.tasks.catalog.databases import ON_POSTGRESQL, ON_SQLITE, is_postgresql, moments, run
from tests.tasks.catalog.made_results import DEMO, FACTS, digest, put_to_work, result, shows

Result = TypeVar("Result")

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
    "model_history": "version encoder rung parent role promoted_at retired_at checkpoint created_at "
    "judged_at gate gate_told gate_figures decision decided_by decided_at decision_reason made",
    "run_history": "run_id flow source started_at finished_at status listed ignored known embedded tagged "
    "quarantined remaining error prefect_flow_run_id",
    "photo_truths": "uri product_id attribute truth chosen inclusion_probability given_by given_at truth_id "
    "photo_id attribute_id label_id content_id shard_id",
    "truth_verdicts": "uri product_id attribute truth label correct similarity confidence decision "
    "model_version taxonomy_version chosen inclusion_probability given_by given_at",
    "review_queue": "uri product_id attribute label confidence reason inclusion_probability",
    "evaluation_history": "evaluation_id evaluated_at data model taxonomy_version attribute n accuracy "
    "ci_low ci_high top5 macro_f1 weighted_f1 calibration_error coverage_at_95 run_id",
    "label_accuracy": "evaluation_id evaluated_at data model taxonomy_version attribute label support "
    "predicted precision recall f1 run_id",
    "slice_accuracy": "evaluation_id evaluated_at data model taxonomy_version attribute slice value n "
    "accuracy ci_low ci_high run_id",
}
VIEW_COLUMNS["retraining_history"] = (
    "retraining_id started_at finished_at outcome told champion number asked_rung attribute minimum_gain "
    "reason rung challenger gate gate_told level run_id prefect_flow_run_id drop_id"
)
VIEW_COLUMNS["close_watch_history"] = (
    "close_watch_id retraining_id champion replaced attribute begun_at ends_at looked_at n losses gains "
    "e_value outcome told finished_at"
)
VIEW_COLUMNS["accuracy_history"] = (
    "checked_at model_version taxonomy_version attribute n accuracy ci_low ci_high baseline e_value status "
    "estimated_accuracy counted hits baseline_n run_id check_id"
)
VIEW_COLUMNS["drop_history"] = (
    "drop_id found_at model_version attribute kind truths reason check_id retraining_id answered_at outcome"
)
VIEW_COLUMNS["estimate_history"] = (
    "run_id started_at model_version attribute photos estimated_accuracy truths accuracy error"
)
VIEW_COLUMNS["drift_history"] = (
    "run_id started_at model_version kind photos statistic p_value e_value drifted"
)
# Those of revision 0001; the others are of tables that it has not, and model_history has columns of such.
FIRST_VIEWS = [name for name in list(VIEW_COLUMNS)[:7] if name != "model_history"]


def data_version(connection: sqlite3.Connection) -> int:
    """Differs as soon as any other connection has changed the database."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def shape(engine: Engine) -> dict[str, Any]:
    """All of a schema that the database tells of, alembic's own table and the type of vectors left out."""
    seen = inspect(engine)
    return {
        name: {
            "columns": [
                (c["name"], c["name"] == "vector" or str(c["type"]), c["nullable"], c["default"])
                for c in seen.get_columns(name)
            ],
            "key": seen.get_pk_constraint(name),
            "foreign": sorted(map(repr, seen.get_foreign_keys(name))),
            "unique": sorted(map(repr, seen.get_unique_constraints(name))),
            "checks": sorted(map(repr, seen.get_check_constraints(name))),
            "indexes": sorted(map(repr, seen.get_indexes(name))),
            "options": seen.get_table_options(name),
        }
        for name in seen.get_table_names()
        if name != "alembic_version"
    }


def tables_and_views(engine: Engine) -> set[str]:
    seen = inspect(engine)
    return {*seen.get_table_names(), *seen.get_view_names()}


ALL = {*tables.metadata.tables, *VIEWS, "alembic_version"}


def test_the_migrations_make_what_the_tables_declare(engine: Engine, blank: Engine) -> None:
    def compares(_: object, __: object, column: Any, *types: object) -> bool | None:
        return False if column.name == "vector" else None

    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": compares})
        assert compare_metadata(context, tables.metadata) == []
    with writing(blank) as connection:
        tables.metadata.create_all(connection)
    assert shape(engine) == shape(blank)


def test_labels_are_stored_in_the_order_of_their_key(engine: Engine) -> None:
    assert inspect(engine).get_pk_constraint("labels")["constrained_columns"] == [
        "label_set_id",
        "content_id",
        "attribute_id",
    ]


@ON_SQLITE
def test_labels_are_their_own_index(engine: Engine) -> None:
    [(made,)] = rows(engine, "SELECT sql FROM sqlite_master WHERE name = 'labels'")
    assert "WITHOUT ROWID" in made


# Upgrades ---------------------------------------------------------------------------------------------------


def test_an_upgrade_is_told_and_a_second_one_changes_nothing(blank: Engine) -> None:
    assert schema.upgrade(blank) == (None, schema.head())
    new_run(blank)
    before, rows_before = shape(blank), contents_of(blank)
    assert schema.upgrade(blank) == (schema.head(), schema.head())
    assert (shape(blank), contents_of(blank)) == (before, rows_before)
    assert tables_and_views(blank) == ALL


def test_an_upgrade_that_breaks_off_leaves_the_old_schema(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VIEWS, "run_history", "SELECT no_such_column FROM runs WHERE")
    with pytest.raises(CatalogError):
        schema.upgrade(engine)
    assert tables_and_views(engine) == ALL
    assert rows(engine, "SELECT run_id FROM run_history") == []


def test_a_first_upgrade_that_breaks_off_leaves_nothing(
    blank: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VIEWS, "run_history", "SELECT no_such_column FROM runs WHERE")
    with pytest.raises(CatalogError):
        schema.upgrade(blank)
    assert tables_and_views(blank) == set()


# From the first revision ------------------------------------------------------------------------------------


def day(number: int) -> datetime:
    return datetime(2026, 3, number, tzinfo=UTC)


A, B, C, D = (f"file:///photos/{name}" for name in "abcd")
OLD_VECTOR = np.array([0.6, -0.8], VECTOR)
DOCUMENT = '{"name": "t", "attributes": {"kind": {"labels": ["Shoe", "Hat"]}}}'

# A program of revision 0001 tagged two nights: a changed, b vanished, c could not be read, d is broken; the
# third night was killed with e planned.
STORY: dict[str, list[tuple[Any, ...]]] = {
    "encoders": [(1, "e1", 2, day(1))],
    "model_versions": [(1, "one", "f1", "c1", 1, "zero-shot", None, day(1))],
    "taxonomies": [(1, "v1", "t", DOCUMENT, day(1))],
    "label_sets": [(1, 1, 1, "complete", day(1), day(1))],
    "served_label_set": [(1, 1)],
    "served_log": [(1, 1, day(1), None, "first")],
    "attributes": [(1, "kind")],
    "label_names": [(1, 1, "Shoe"), (2, 1, "Hat")],
    "runs": [
        (1, "nightly-tagging", "file:///photos/", day(2), day(2), "completed", 3, 1, 0, 0, None, "p1"),
        (2, "nightly-tagging", "file:///photos/", day(3), day(3), "failed", 4, 0, 1, 0, "why", None),
        (3, "nightly-tagging", "file:///photos/", day(4), None, "running", 4, 0, None, None, None, None),
    ],
    "shards": [(1, 1, day(2), 2, 2, 1), (2, 2, day(3), 1, 1, 2)],
    "contents": [(1, digest("shoe")), (2, digest("hat"))],
    "photos": [
        (1, A, "pa", "t2", 2, 2, None),
        (2, B, "pb", "t1", 1, 1, day(3)),
        (3, C, "pc", None, None, 2, None),
        (4, D, "pd", "t1", None, 2, None),
    ],
    "photo_past_contents": [(1, 1, 1, day(3))],
    "quarantine": [(3, "unreadable", "u", 2, day(2), day(3)), (4, "broken", "d", 1, day(3), day(3))],
    "embeddings": [(1, 1, OLD_VECTOR.tobytes()), (1, 2, OLD_VECTOR[::-1].tobytes())],
    "work": [(1, "file:///photos/e", 3)],
    "labels": [
        (1, 1, 1, 1, 0, 1, 3000, 9000, 2, 2000, 1000, *[None] * 9),
        (1, 2, 1, 2, 0, 2, 3000, 9000, 1, 2000, 1000, *[None] * 9),
    ],
}
TIMES = {"tagged_at", "served_from", "served_to", "started_at", "finished_at", "first_failed_at"}
TIMES |= {"last_failed_at", "created_at", "promoted_at", "retired_at"}


def put_first_revision(engine: Engine, story: dict[str, list[tuple[Any, ...]]]) -> None:
    """Makes what a program of revision 0001 left."""
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        old = MetaData()
        old.reflect(connection)
        for name, made in story.items():
            columns = old.tables[name].columns.keys()
            connection.execute(insert(old.tables[name]), [dict(zip(columns, r, strict=True)) for r in made])
            if is_postgresql(engine):  # which counts on from its own ids only
                key = columns[0]
                counter = f"pg_get_serial_sequence('{name}', '{key}')"
                connection.execute(text(f"SELECT setval({counter}, MAX({key})) FROM {name}"))
        for name in FIRST_VIEWS:
            connection.execute(text(f"CREATE VIEW {name} AS {VIEWS[name]}"))


def views(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for view in FIRST_VIEWS:
        columns = VIEW_COLUMNS[view]
        times = [name for name in columns.split() if name in TIMES]
        query = f"SELECT {', '.join(columns.split())} FROM {view}"
        found[view] = sorted(moments(engine, query, *times), key=repr)
    return found


def test_an_upgrade_keeps_what_people_see(blank: Engine) -> None:
    put_first_revision(blank, STORY)
    before = views(blank)
    assert schema.upgrade(blank) == ("0001", schema.head())
    assert views(blank) == before
    assert [row[0] for row in before["catalog_labels"]] == [A]
    assert [row[0] for row in before["label_history"]] == [A, A, B]
    assert [row[0] for row in before["quarantined_images"]] == [C, D]
    assert [row[0] for row in before["run_history"]] == [1, 2, 3]


def test_an_upgrade_keeps_every_row_but_the_list_of_work(blank: Engine) -> None:
    put_first_revision(blank, STORY)
    before = {name: rows(blank, f"SELECT * FROM {name}") for name in STORY}
    schema.upgrade(blank)
    after = contents_of(blank)
    assert after.pop("work") == []
    assert [name for name in after if name not in STORY and after[name]] == []
    for name, kept in ((name, after[name]) for name in after if name in STORY):
        width = len(STORY[name][0])
        assert [row[:width] for row in kept] == [row[:width] for row in before[name]], name
    assert {row[4:] for row in after["encoders"]} == {("float32", "exact", 1)}
    assert {row[8:] for row in after["model_versions"]} == {(None,) * 4}
    assert {row[12:] for row in after["runs"]} == {(None, None)}
    assert {row[6:] for row in after["shards"]} == {(0, 0, None)}
    assert {row[6:] for row in after["quarantine"]} == {(None,)}
    with reading(blank) as connection:
        vectors = connection.execute(select(tables.embeddings.c.vector).order_by("content_id")).scalars()
        assert [v.tobytes() for v in vectors] == [OLD_VECTOR.tobytes(), OLD_VECTOR[::-1].tobytes()]


def test_what_was_upgraded_is_like_what_was_made_anew(blank: Engine, engine: Engine) -> None:
    put_first_revision(blank, STORY)
    schema.upgrade(blank)
    assert shape(blank) == shape(engine)
    assert tables_and_views(blank) == ALL


def test_the_next_night_goes_on_where_the_old_program_left(blank: Engine) -> None:
    put_first_revision(blank, STORY)
    schema.upgrade(blank)
    assert close_dead_runs(blank) == 1
    assert rows(blank, "SELECT run_id, status FROM run_history WHERE run_id = 3") == [(3, "interrupted")]
    run_id = new_run(blank)
    listing = [Listed(A, "t2"), Listed(C, "t1"), Listed(D, "t1"), Listed("file:///photos/e", "t1")]
    found = plan.scan(blank, run_id, "file:///photos/", iter(listing), lambda _: None)
    assert (found.listed, found.planned, len(found.vanished)) == (4, 2, 0)
    claim = ledger.claim(blank, run_id, 10)
    assert [photo.uri for photo in claim.photos] == [C, "file:///photos/e"]
    label_set = served(blank)
    assert label_set is not None
    shard = result([shows(photo.uri, "shoe") for photo in claim.photos])
    assert commit_shard(blank, run_id, claim, label_set, shard) == Counts(0, 2, 0)
    assert rows(blank, "SELECT uri FROM quarantined_images") == [(D,)]


@ON_POSTGRESQL
@pytest.mark.parametrize(("story", "kept_as"), [({}, "HALFVEC"), (STORY, "BYTEA")])
def test_vectors_become_halfvec_where_there_are_none_yet(
    blank: Engine, story: dict[str, list[tuple[Any, ...]]], kept_as: str
) -> None:
    put_first_revision(blank, story)
    schema.upgrade(blank)
    [vector] = [c["type"] for c in inspect(blank).get_columns("embeddings") if c["name"] == "vector"]
    assert str(vector) == kept_as


def test_an_older_revision_is_refused_with_what_to_do(blank: Engine) -> None:
    put_first_revision(blank, STORY)
    before = contents_of_all(blank)
    with pytest.raises(
        CatalogError, match=rf"revision 0001, this program needs {schema.head()}.*fashion-clip db upgrade"
    ):
        schema.require_current(blank)
    assert contents_of_all(blank) == before


# What is there ----------------------------------------------------------------------------------------------


def contents_of_all(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Also of tables that are not ours."""
    return {
        name: sorted(rows(engine, f"SELECT * FROM {name}"), key=repr)
        for name in inspect(engine).get_table_names()
    }


def test_an_empty_database_gets_the_schema(blank: Engine) -> None:
    schema.require_current(blank)
    assert tables_and_views(blank) == ALL


@ON_SQLITE
def test_a_current_database_is_only_looked_at(engine: Engine) -> None:
    watcher = sqlite3.connect(str(engine.url.database))
    before = data_version(watcher)
    schema.require_current(engine)
    assert data_version(watcher) == before
    watcher.close()


@ON_POSTGRESQL
def test_a_current_database_may_be_one_that_cannot_be_written(engine: Engine) -> None:
    run(engine, f"ALTER DATABASE {engine.url.database} SET default_transaction_read_only = on")
    engine.dispose()
    schema.require_current(engine)
    with pytest.raises(CatalogError, match="read-only"):
        schema.upgrade(engine)


@pytest.mark.parametrize("touch", [schema.require_current, schema.upgrade])
def test_a_database_of_something_else_is_refused_and_left_alone(
    blank: Engine, touch: Callable[[Engine], object]
) -> None:
    run(
        blank,
        "CREATE TABLE customers (id INTEGER)",
        "INSERT INTO customers VALUES (7)",
        "CREATE VIEW run_history AS SELECT 1 AS theirs",
    )
    with pytest.raises(CatalogError, match="holds tables of something else; give another database") as caught:
        touch(blank)
    assert str(blank.url.database) in str(caught.value)
    assert tables_and_views(blank) == {"customers", "run_history"}
    assert rows(blank, "SELECT * FROM customers") == [(7,)]
    assert rows(blank, "SELECT theirs FROM run_history") == [(1,)]


@pytest.mark.parametrize("touch", [schema.require_current, schema.upgrade])
def test_an_unknown_revision_is_refused_with_what_to_do(
    engine: Engine, touch: Callable[[Engine], object]
) -> None:
    run(engine, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CatalogError, match=r"revision 9999, which this program does not know.*newer"):
        touch(engine)
    assert tables_and_views(engine) == ALL


# Two programs at once ---------------------------------------------------------------------------------------


def at_once(blank: Engine, act: Callable[[Engine], Result], times: int) -> list[Result]:
    """Each with an engine of its own, as a program has."""
    together = Barrier(times)
    if is_postgresql(blank):  # who waits for ever for another fails
        run(blank, f"ALTER DATABASE {blank.url.database} SET lock_timeout = '20s'")

    def one(_: int) -> Result:
        with connected(blank.url.render_as_string(hide_password=False)) as engine:
            together.wait(30)
            return act(engine)

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def test_programs_that_make_a_catalogue_at_once_all_do_and_begin_it_once(blank: Engine) -> None:
    def start(engine: Engine) -> LabelSet:
        schema.require_current(engine)
        return begin(engine, FACTS, DEMO)

    sets = at_once(blank, start, 4)
    assert all(label_set == sets[0] for label_set in sets)
    assert tables_and_views(blank) == ALL
    assert rows(blank, "SELECT COUNT(*) FROM label_sets") == [(1,)]
    assert rows(blank, "SELECT COUNT(*) FROM served_log") == [(1,)]


def test_programs_that_upgrade_a_catalogue_at_once_all_do(blank: Engine) -> None:
    put_first_revision(blank, STORY)
    before = views(blank)
    ends = at_once(blank, schema.upgrade, 3)
    assert sorted(ends) == sorted([("0001", schema.head()), *[(schema.head(), schema.head())] * 2])
    assert views(blank) == before


@pytest.mark.parametrize(
    ("database", "statement"),
    [("sqlite", 2), ("sqlite", 4), ("postgresql", 1), ("postgresql", 2)],
    indirect=["database"],
)
def test_a_catalogue_that_another_program_makes_between_two_looks_is_taken(
    blank: Engine, statement: int
) -> None:
    """The other program comes just before the statement of that number that this one reads with."""
    looks = []

    def other_program(connection: Connection, *_: object) -> None:
        if not connection.get_execution_options().get("writes"):
            looks.append(1)
            if len(looks) == statement:
                with connected(blank.url.render_as_string(hide_password=False)) as other:
                    schema.upgrade(other)

    event.listen(blank, "before_cursor_execute", other_program)
    schema.require_current(blank)
    event.remove(blank, "before_cursor_execute", other_program)
    assert len(looks) >= statement
    assert tables_and_views(blank) == ALL


# What people and rows rely on -------------------------------------------------------------------------------


def test_every_view_is_part_of_the_contract() -> None:
    assert set(VIEWS) == set(VIEW_COLUMNS)


def test_the_views_have_the_columns_that_people_query(engine: Engine) -> None:
    for view, told in VIEW_COLUMNS.items():
        columns = [column["name"] for column in inspect(engine).get_columns(view)]
        assert set(told.split()) <= set(columns), view
        assert len(columns) == len(set(columns)), view


def test_one_label_set_is_served_at_most(engine: Engine) -> None:
    run(
        engine,
        "INSERT INTO encoders VALUES (1, 'e', 4, '2026-01-01', 'float32', 'exact', 1)",
        "INSERT INTO model_versions (model_version_id, version, fingerprint, checkpoint, encoder_id, rung,"
        " created_at) VALUES (1, 'm', 'f', 'c', 1, 'zero-shot', '2026-01-01')",
        "INSERT INTO taxonomies VALUES (1, 'v', 't', '{}', '2026-01-01')",
        "INSERT INTO label_sets VALUES (1, 1, 1, 'complete', '2026-01-01', NULL)",
        "INSERT INTO served_label_set VALUES (1, 1)",
    )
    for second in (1, 2):
        with pytest.raises(CatalogError):
            run(engine, f"INSERT INTO served_label_set VALUES ({second}, 1)")
    assert rows(engine, "SELECT * FROM served_label_set") == [(1, 1)]


def test_a_status_is_one_of_those_that_are_known(engine: Engine) -> None:
    run_id = new_run(engine)
    with pytest.raises(CatalogError, match=r"(?i)check"):
        run(engine, "UPDATE runs SET status = 'finished'")
    assert rows(engine, "SELECT run_id, status FROM runs") == [(run_id, "running")]


def test_truth_that_was_drawn_has_its_probability_and_no_other_has(engine: Engine) -> None:
    truth = (
        "INSERT INTO truths (product_id, photo_id, attribute_id, chosen, inclusion_probability, given_by,"
        " given_at, imported_at) VALUES ('p', 0, 1, {}, 'me', '2026-01-01', '2026-01-01')"
    )
    run(engine, "INSERT INTO attributes (name) VALUES ('kind')")
    for wrong in ("'random', NULL", "'review', 0.5", "'some', NULL"):
        with pytest.raises(CatalogError, match=r"(?i)check"):
            run(engine, truth.format(wrong))
    run(engine, truth.format("'random', 0.5"))
    with pytest.raises(CatalogError, match=r"(?i)unique"):
        run(engine, truth.format("'review', NULL"))


def test_what_keys_the_work_is_there_once(engine: Engine) -> None:
    """Exactly once is by key: without these a repeated transaction would double what it writes."""
    run_id = new_run(engine)
    put_to_work(engine, run_id, [A])
    claim = ledger.claim(engine, run_id, 1)
    commit_shard(engine, run_id, claim, begin(engine, FACTS, DEMO), result([shows(A, "shoe")]))
    put_to_work(engine, run_id, [A])
    run(engine, "UPDATE runs SET owner = 'o'")
    for table, key in (("work", "uri"), ("photos", "uri"), ("runs", "owner"), ("shards", "claim")):
        names = [c.name for c in tables.metadata.tables[table].columns if not c.primary_key]
        with pytest.raises(CatalogError, match=rf"(?i)unique.*{table}.*{key}"):
            run(engine, f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(names)} FROM {table}")
