"""Runs: recorded however they end, and their counts add up."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text, update

from fashion_clip.errors import CatalogError, SourceError
from tasks.catalog import heartbeat, ledger, plan, runs, tables
from tasks.catalog.commit import commit_shard
from tasks.catalog.engine import clock, reading, writing
from tasks.catalog.runs import Handled
from tasks.sources import Listed
from tests.catalogue_fixtures import contents_of, new_run
from tests.servers.proxy import FaultProxy
from tests.tasks.catalog.databases import COMMIT, ON_POSTGRESQL, moment, moves_on
from tests.tasks.catalog.made_results import begun, broken, claim_of, put_to_work, result, shows, unread

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
        (OSError("nul \0 and half \udcff"), "OSError: nul \\x00 and half \\udcff"),
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
            claim = ledger.claim(engine, run_id, 3)
            outcomes = [shows(uris[1], "shoe"), shows(uris[2], "shoe"), broken(uris[3])]
            commit_shard(engine, run_id, claim, label_set, result(outcomes, ["shoe"]))
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


def scan(engine: Engine, run_id: int, names: str) -> None:
    listing = [Listed(PREFIX + name, "1-1") for name in names]
    found = plan.scan(engine, run_id, PREFIX, iter(listing), lambda _: None)
    runs.record_listing(engine, run_id, PREFIX, found.listed, 0)


def test_what_another_run_did_meanwhile_is_no_count_of_this_one(engine: Engine) -> None:
    """A younger run lists two photos more and does one that both want before the older one ends."""
    label_set = begun(engine)
    with runs.recorded(engine, "nightly-tagging", "photos", None) as older:
        scan(engine, older, "ab")
        younger = new_run(engine)
        scan(engine, younger, "abcd")
        claim = ledger.claim(engine, younger, 1)
        commit_shard(engine, younger, claim, label_set, result([shows(PREFIX + "a", "shoe")], ["shoe"]))
        claim = ledger.claim(engine, older, 10)
        assert [photo.uri for photo in claim.photos] == [PREFIX + "b"]
        commit_shard(engine, older, claim, label_set, result([shows(PREFIX + "b", "shoe")]))
    run = runs.summary(engine, older)
    assert (run.listed, run.known, run.tagged, run.remaining) == (2, 1, 1, 0)
    assert ledger.left(engine, younger).photos == 2


def test_what_a_younger_run_wants_too_remains_to_the_older_one_until_it_is_done(engine: Engine) -> None:
    with runs.recorded(engine, "nightly-tagging", "photos", None) as older:
        scan(engine, older, "a")
        younger = new_run(engine)
        scan(engine, younger, "abc")
        ledger.claim(engine, younger, 10)
    run = runs.summary(engine, older)
    assert (run.listed, run.known, run.tagged, run.remaining) == (1, 0, 0, 1)


def test_what_was_handled_is_told_while_a_run_is_under_way(engine: Engine) -> None:
    label_set, run_id = begun(engine), new_run(engine)
    assert runs.handled(engine, run_id) == Handled(0, 0)
    a, b, c, d = (PREFIX + name for name in "abcd")
    touched = shows(a, "shoe", "t2")  # the picture that it was
    for outcomes in ([shows(a, "shoe"), broken(b)], [unread(c)], [unread(c), shows(d, "shoe")], [touched]):
        claim = claim_of(engine, run_id, [outcome.uri for outcome in outcomes])
        commit_shard(engine, run_id, claim, label_set, result(outcomes))
    assert runs.handled(engine, run_id) == Handled(photos=6, newly_quarantined=2)
    assert runs.handled(engine, new_run(engine)) == Handled(0, 0)


# Runs whose process is gone ---------------------------------------------------------------------------------


def killed(engine: Engine, run_id: int) -> datetime:
    """As if the run's process had been killed more than a lease ago; returns when it was last seen."""
    with writing(engine) as connection:
        seen = clock(connection) - timedelta(seconds=1)
        connection.execute(update(tables.runs).where(tables.runs.c.run_id == run_id).values(alive_until=seen))
    return seen


def statuses(engine: Engine) -> list[tuple[int, str]]:
    return [(run.run_id, run.status) for run in reversed(runs.history(engine, 100))]


def test_a_run_that_was_killed_is_closed_with_counts_that_add_up(engine: Engine) -> None:
    label_set, run_id = begun(engine), new_run(engine)
    uris = [f"{PREFIX}{number}" for number in range(6)]
    runs.record_listing(engine, run_id, PREFIX, len(uris), 2)
    put_to_work(engine, run_id, uris[1:])
    claim = ledger.claim(engine, run_id, 3)
    outcomes = [shows(uris[1], "shoe"), shows(uris[2], "shoe"), broken(uris[3])]
    commit_shard(engine, run_id, claim, label_set, result(outcomes, ["shoe"]))
    ledger.claim(engine, run_id, 1)  # what it held when it was killed
    seen = killed(engine, run_id)
    assert runs.close_dead_runs(engine) == 1
    run = one_run(engine)
    assert (run.status, run.error, run.finished_at) == (
        "interrupted",
        "its process ended without a word",
        seen,
    )
    assert (run.listed, run.known, run.tagged, run.quarantined, run.remaining) == (6, 1, 2, 1, 2)
    before = contents_of(engine)
    assert runs.close_dead_runs(engine) == 0
    assert contents_of(engine) == before


def test_a_run_that_was_closed_and_commits_a_shard_all_the_same_is_running_again(engine: Engine) -> None:
    """It slept past its lease, woke, did some more, and was killed then."""
    label_set, run_id = begun(engine), new_run(engine)
    uris = [f"{PREFIX}{number}" for number in range(6)]
    runs.record_listing(engine, run_id, PREFIX, len(uris), 0)
    put_to_work(engine, run_id, uris)
    claim = ledger.claim(engine, run_id, 4)
    killed(engine, run_id)
    assert runs.close_dead_runs(engine) == 1
    commit_shard(engine, run_id, claim, label_set, result([shows(uri, "shoe") for uri in uris[:4]], ["shoe"]))
    woken = one_run(engine)
    assert (woken.status, woken.finished_at, woken.error) == ("running", None, None)
    assert (woken.known, woken.remaining) == (None, None)
    killed(engine, run_id)
    assert runs.close_dead_runs(engine) == 1
    run = one_run(engine)
    assert (run.listed, run.known, run.tagged, run.remaining) == (6, 0, 4, 2)


def test_a_run_has_taken_up_what_shows_the_same_as_before_too(engine: Engine) -> None:
    """A thousand touched photos and three new broken ones are no broken feed."""
    label_set, first, second = begun(engine), new_run(engine), new_run(engine)
    uris = [f"{PREFIX}{number}" for number in range(5)]
    for run_id, token, broken_ones in ((first, "t1", 0), (second, "t2", 2)):
        put_to_work(engine, run_id, uris, token)
        claim = ledger.claim(engine, run_id, 10)
        outcomes = [broken(uri, token) for uri in uris[:broken_ones]]
        outcomes += [shows(uri, "shoe", token) for uri in uris[broken_ones:]]
        commit_shard(engine, run_id, claim, label_set, result(outcomes, ["shoe"]))
    assert runs.handled(engine, first) == runs.Handled(photos=5, newly_quarantined=0)
    assert runs.handled(engine, second) == runs.Handled(photos=5, newly_quarantined=2)
    assert runs.summary(engine, second).tagged == 0


def test_a_run_that_was_killed_before_it_had_listed_is_closed_without_counts(engine: Engine) -> None:
    run_id = new_run(engine)
    killed(engine, run_id)
    assert runs.close_dead_runs(engine) == 1
    run = one_run(engine)
    assert (run.status, run.listed, run.known, run.remaining) == ("interrupted", None, None, None)


def test_the_next_run_closes_dead_ones_and_leaves_the_living(engine: Engine) -> None:
    dead, alive, ancient = (new_run(engine) for _ in range(3))
    killed(engine, dead)
    with writing(engine) as connection:  # as a program of revision 0001 left it, which showed no life
        query = update(tables.runs).where(tables.runs.c.run_id == ancient)
        connection.execute(query.values(alive_until=None))
    with runs.recorded(engine, "nightly-tagging", "photos", None) as run_id:
        assert statuses(engine) == [
            (dead, "interrupted"),
            (alive, "running"),
            (ancient, "interrupted"),
            (run_id, "running"),
        ]


def test_a_run_that_was_over_is_not_closed_again(engine: Engine) -> None:
    with runs.recorded(engine, "nightly-tagging", "photos", None) as run_id:
        pass
    killed(engine, run_id)
    assert runs.close_dead_runs(engine) == 0
    assert statuses(engine) == [(run_id, "completed")]


def test_a_run_shows_that_it_lives(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with runs.recorded(engine, "nightly-tagging", "photos", None):
        until = moment(engine, "SELECT alive_until AS at FROM runs")
        with reading(engine) as connection:
            now = clock(connection)
        assert until is not None
        lease = timedelta(seconds=heartbeat.LEASE_S)
        assert now - timedelta(seconds=30) <= until - lease <= now
    monkeypatch.setattr(heartbeat, "RENEWED_EVERY_S", 0.001)
    with runs.recorded(engine, "nightly-tagging", "photos", None) as run_id:
        moves_on(engine, f"SELECT alive_until AS at FROM runs WHERE run_id = {run_id}")
        killed(engine, run_id)
        moves_on(engine, f"SELECT alive_until AS at FROM runs WHERE run_id = {run_id}")
        assert runs.close_dead_runs(engine) == 0


def test_a_run_that_slept_and_was_closed_ends_as_it_does(engine: Engine) -> None:
    with runs.recorded(engine, "nightly-tagging", "photos", None) as run_id:
        runs.record_listing(engine, run_id, PREFIX, 0, 0)
        killed(engine, run_id)
        assert runs.close_dead_runs(engine) == 1
    run = one_run(engine)
    assert (run.status, run.error, run.remaining) == ("completed", None, 0)


def test_a_run_that_was_closed_and_commits_a_shard_all_the_same_runs_again(engine: Engine) -> None:
    label_set, run_id = begun(engine), new_run(engine)
    runs.record_listing(engine, run_id, PREFIX, 2, 0)
    put_to_work(engine, run_id, [PREFIX + "a", PREFIX + "b"])
    claim = ledger.claim(engine, run_id, 1)
    killed(engine, run_id)
    assert runs.close_dead_runs(engine) == 1
    run = one_run(engine)
    assert (run.status, run.known, run.remaining) == ("interrupted", 0, 2)
    commit_shard(engine, run_id, claim, label_set, result([shows(PREFIX + "a", "shoe")], ["shoe"]))
    run = one_run(engine)
    assert (run.status, run.finished_at, run.error) == ("running", None, None)
    assert (run.known, run.tagged, run.remaining) == (None, 1, None)
    assert runs.close_dead_runs(engine) == 0  # it has a lease again
    killed(engine, run_id)
    assert runs.close_dead_runs(engine) == 1
    run = one_run(engine)
    assert (run.status, run.known, run.tagged, run.remaining) == ("interrupted", 0, 1, 1)


# Outages ----------------------------------------------------------------------------------------------------


@ON_POSTGRESQL
@pytest.mark.parametrize("fault", ["rst-before", "rst-after"])
def test_a_run_that_begins_over_a_connection_that_breaks_is_one_run(
    engine: Engine, far: Engine, proxy: FaultProxy, fault: str
) -> None:
    assert runs.history(far, 10) == []  # it is connected
    proxy.mode = f"{fault}:{COMMIT}:1"
    with runs.recorded(far, "nightly-tagging", "photos", None) as run_id:
        assert proxy.struck == 1
        assert statuses(engine) == [(run_id, "running")]
    assert statuses(engine) == [(run_id, "completed")]


@ON_POSTGRESQL
@pytest.mark.parametrize("fault", ["rst-before", "rst-after"])
def test_a_run_that_ends_over_a_connection_that_breaks_is_completed(
    engine: Engine, far: Engine, proxy: FaultProxy, fault: str
) -> None:
    with runs.recorded(far, "nightly-tagging", "photos", None) as run_id:
        runs.record_listing(far, run_id, PREFIX, 3, 0)
        put_to_work(engine, run_id, [PREFIX + "a"])
        proxy.mode = f"{fault}:{COMMIT}:1"
    assert proxy.struck == 1
    run = runs.summary(engine, run_id)
    assert (run.status, run.listed, run.known, run.remaining) == ("completed", 3, 2, 1)


def test_the_history_tells_the_latest_first(engine: Engine) -> None:
    ids = [new_run(engine) for _ in range(5)]
    assert [run.run_id for run in runs.history(engine, 3)] == ids[:1:-1]
    assert [run.run_id for run in runs.history(engine, 100)] == ids[::-1]
    assert runs.summary(engine, ids[1]).run_id == ids[1]
