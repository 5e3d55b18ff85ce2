"""Runs: recorded however they end, and their counts add up."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from fashion_clip.errors import CatalogError, SourceError
from tasks.catalog import plan, runs
from tasks.catalog.commit import commit_shard
from tasks.catalog.engine import writing
from tasks.sources import Listed
from tests.catalogue_fixtures import new_run
from tests.tasks.catalog.made_results import begun, broken, put_to_work, result, shows

PREFIX = "file:///photos/"


def one_run(engine: Engine) -> runs.RunSummary:
    [found] = runs.history(engine, 10)
    return found


def test_a_run_under_way_can_be_seen(engine: Engine) -> None:
    with runs.recorded(engine, "nightly-tagging", "photos", "prefect's id") as run_id:
        run = runs.summary(engine, run_id)
    assert (run.status, run.finished_at, run.listed, run.known, run.remaining) == (
        "running",
        None,
        None,
        None,
        None,
    )
    assert (run.flow, run.source, run.prefect_flow_run_id) == ("nightly-tagging", "photos", "prefect's id")
    assert (run.embedded, run.tagged, run.quarantined) == (0, 0, 0)


def test_a_run_that_ends_well_is_completed(engine: Engine) -> None:
    began = datetime.now(UTC)
    with runs.recorded(engine, "nightly-tagging", "photos", None) as run_id:
        runs.record_listing(engine, run_id, PREFIX, 0, 3)
    run = one_run(engine)
    assert (run.status, run.error, run.source, run.ignored) == ("completed", None, PREFIX, 3)
    assert (run.listed, run.known, run.remaining) == (0, 0, 0)
    assert run.finished_at is not None
    assert began <= run.started_at <= run.finished_at <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SourceError("the share is gone"), "the share is gone"),
        (ValueError("unexpected"), "ValueError: unexpected"),
        (RuntimeError("x" * 5000), ("RuntimeError: " + "x" * 5000)[:2000]),
    ],
)
def test_a_run_that_fails_says_why(engine: Engine, error: Exception, told: str) -> None:
    with pytest.raises(type(error)), runs.recorded(engine, "nightly-tagging", "photos", None):
        raise error
    run = one_run(engine)
    assert (run.status, run.error, run.source) == ("failed", told, "photos")
    assert run.finished_at is not None
    assert (run.listed, run.known, run.remaining) == (None, None, None)


@pytest.mark.parametrize("signal", [KeyboardInterrupt(), SystemExit(1)])
def test_a_run_that_is_stopped_is_interrupted(engine: Engine, signal: BaseException) -> None:
    with pytest.raises(type(signal)), runs.recorded(engine, "nightly-tagging", "photos", None):
        raise signal
    run = one_run(engine)
    assert (run.status, run.error) == ("interrupted", None)
    assert run.finished_at is not None


def test_what_stopped_a_run_is_not_hidden_by_a_database_that_is_gone(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), runs.recorded(engine, "nightly-tagging", "photos", None):
        with writing(engine) as connection:
            connection.execute(text("ALTER TABLE work RENAME TO elsewhere"))
            connection.execute(text("UPDATE runs SET listed = 1"))
        raise ZeroDivisionError
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO work"))


def test_a_run_that_cannot_be_finished_is_not_passed_off_as_done(engine: Engine) -> None:
    with (
        pytest.raises(CatalogError),
        runs.recorded(engine, "nightly-tagging", "photos", None),
        writing(engine) as connection,
    ):
        connection.execute(text("UPDATE runs SET listed = 1"))
        connection.execute(text("ALTER TABLE work RENAME TO elsewhere"))
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO work"))
    assert one_run(engine).status == "running"


@pytest.mark.parametrize("stopped", [False, True])
def test_counts_add_up_however_a_run_ends(engine: Engine, stopped: bool) -> None:
    label_set = begun(engine)
    uris = [f"{PREFIX}{number}" for number in range(6)]

    def one_shard() -> None:
        with runs.recorded(engine, "nightly-tagging", "photos", None) as run_id:
            runs.record_listing(engine, run_id, PREFIX, len(uris), 0)
            put_to_work(engine, run_id, uris[1:])  # the first is known
            outcomes = [shows(uris[1], "shoe"), shows(uris[2], "shoe"), broken(uris[3])]
            commit_shard(engine, run_id, label_set, result(outcomes, ["shoe"]))
            if stopped:
                raise KeyboardInterrupt

    if stopped:
        with pytest.raises(KeyboardInterrupt):
            one_shard()
    else:
        one_shard()
    run = one_run(engine)
    assert (run.listed, run.known, run.tagged, run.quarantined, run.remaining) == (6, 1, 2, 1, 2)
    assert run.embedded == 1


def test_what_another_run_did_meanwhile_is_no_count_of_this_one(engine: Engine) -> None:
    """A younger run lists two photos more and does not come to them before the older one ends."""

    def scan(run_id: int, names: str) -> None:
        listing = [Listed(PREFIX + name, "1-1") for name in names]
        found = plan.scan(engine, run_id, PREFIX, iter(listing), lambda _: None)
        runs.record_listing(engine, run_id, PREFIX, found.listed, 0)

    label_set = begun(engine)
    with runs.recorded(engine, "nightly-tagging", "photos", None) as older:
        scan(older, "a")
        scan(new_run(engine), "abc")
        commit_shard(engine, older, label_set, result([shows(PREFIX + "a", "shoe")], ["shoe"]))
    run = runs.summary(engine, older)
    assert (run.listed, run.known, run.tagged, run.remaining) == (1, 1, 0, 0)  # left to the younger


def test_a_younger_run_s_work_is_left_to_it(engine: Engine) -> None:
    label_set = begun(engine)
    with runs.recorded(engine, "nightly-tagging", "photos", None) as older:
        younger = new_run(engine)
        for run_id, names in ((older, "a"), (younger, "abc")):
            listing = [Listed(PREFIX + name, "1-1") for name in names]
            found = plan.scan(engine, run_id, PREFIX, iter(listing), lambda _: None)
            runs.record_listing(engine, run_id, PREFIX, found.listed, 0)
        assert list(plan.shards(engine, older, 10)) == []
        [shard] = plan.shards(engine, younger, 10)
        uris = plan.planned(engine, younger, *shard)
        commit_shard(engine, younger, label_set, result([shows(uri, "shoe") for uri in uris], ["shoe"]))
    run = runs.summary(engine, older)
    assert (run.listed, run.known, run.tagged, run.remaining) == (1, 1, 0, 0)
    assert runs.summary(engine, younger).tagged == 3


def test_the_history_tells_the_latest_first(engine: Engine) -> None:
    ids = [new_run(engine) for _ in range(5)]
    assert [run.run_id for run in runs.history(engine, 3)] == ids[:1:-1]
    assert [run.run_id for run in runs.history(engine, 100)] == ids[::-1]
    assert runs.summary(engine, ids[1]).run_id == ids[1]
