"""Photos that failed: how often and when they are tried again, and what can be seen and done about them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from tasks.catalog import ledger, plan, tables
from tasks.catalog.commit import Counts, commit_shard
from tasks.catalog.engine import clock, writing
from tasks.catalog.models import LabelSet
from tasks.catalog.outcome import Outcome
from tasks.catalog.quarantine import (
    MAX_ATTEMPTS,
    PASSING,
    Chosen,
    Quarantined,
    by_reason,
    listed,
    retry,
    retry_at,
)
from tasks.sources import Listed
from tests.catalogue_fixtures import contents_of, new_run, rows
from tests.servers.proxy import FaultProxy
from tests.tasks.catalog.databases import COMMIT, ON_POSTGRESQL, moment
from tests.tasks.catalog.made_results import begun, broken, claim_of, result, shows, unread

PREFIX = "file:///photos/"
A, B, C, D = (PREFIX + name for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"))
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@pytest.fixture
def label_set(engine: Engine) -> LabelSet:
    return begun(engine)


def commit(engine: Engine, label_set: LabelSet, *outcomes: Outcome) -> Counts:
    """A run of its own meets the photos."""
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [outcome.uri for outcome in outcomes])
    return commit_shard(engine, run_id, claim, label_set, result(outcomes))


def planned(engine: Engine, *photos: Listed) -> list[str]:
    """What a scan that lists these photos finds to be done; it is left undone."""
    run_id = new_run(engine)
    found = plan.scan(engine, run_id, PREFIX, iter(sorted(photos, key=lambda p: p.uri)), lambda _: None)
    claim = ledger.claim(engine, run_id, 100)
    assert found.planned == len(claim.photos)
    with writing(engine) as connection:
        connection.execute(tables.work.delete())
    return sorted(photo.uri for photo in claim.photos)


def time_passes(engine: Engine, uri: str, time: timedelta) -> None:
    """For the photo's retry."""
    at = moment(
        engine,
        "SELECT q.retry_at AS at FROM quarantine q JOIN photos p ON p.photo_id = q.photo_id"
        " WHERE p.uri = :uri",
        uri=uri,
    )
    quarantine, photos = tables.quarantine, tables.photos
    if at is not None:
        with writing(engine) as connection:
            this = select(photos.c.photo_id).where(photos.c.uri == uri)
            query = update(quarantine).where(quarantine.c.photo_id.in_(this))
            connection.execute(query.values(retry_at=at - time))


# When -----------------------------------------------------------------------------------------------------


def test_what_may_pass_is_tried_by_the_next_run_and_then_after_one_two_and_four_days() -> None:
    failed_at = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    schedule = [retry_at("unreadable", attempts, failed_at) for attempts in range(1, 7)]
    assert schedule == [
        failed_at,
        failed_at + DAY - 6 * HOUR,  # a night that begins a little earlier is the next one
        failed_at + 2 * DAY - 6 * HOUR,
        failed_at + 4 * DAY - 6 * HOUR,
        None,
        None,
    ]


@given(
    reason=st.one_of(st.sampled_from(sorted(PASSING)), st.text(max_size=20)),
    attempts=st.integers(1, 10_000),
    failed_at=TIMES,
)
def test_a_photo_is_tried_again_a_few_times_ever_later_or_never(
    reason: str, attempts: int, failed_at: datetime
) -> None:
    at = retry_at(reason, attempts, failed_at)
    if reason not in PASSING or attempts >= MAX_ATTEMPTS:
        assert at is None
        return
    assert at is not None
    assert failed_at <= at
    before = retry_at(reason, attempts - 1, failed_at) if attempts > 1 else None
    assert before is None or before < at
    assert at - failed_at < timedelta(days=2**MAX_ATTEMPTS)


def test_a_photo_that_stays_unreadable_is_tried_five_times_and_then_left_alone(
    engine: Engine, label_set: LabelSet
) -> None:
    """One night after the other, of which each begins a little earlier than a day after the last."""
    nights = []
    for night in range(20):
        if planned(engine, Listed(A, "t1")):
            counts = commit(engine, label_set, unread(A))
            assert counts == Counts(0, 0, 1, newly_quarantined=int(night == 0))
            nights.append(night)
        time_passes(engine, A, DAY - HOUR)
    assert nights == [0, 1, 2, 4, 8]
    [row] = listed(engine, Chosen(), 10)
    assert (row.attempts, row.retry_at) == (MAX_ATTEMPTS, None)


def test_what_may_pass_is_planned_again(engine: Engine, label_set: LabelSet) -> None:
    failed = [broken(PREFIX + reason, reason=reason) for reason in sorted(PASSING)]
    commit(engine, label_set, *failed, shows(B, "shoe"))
    listing = [Listed(outcome.uri, "t1") for outcome in failed]
    assert planned(engine, *listing, Listed(B, "t1")) == [photo.uri for photo in listing]


def test_what_lies_in_the_bytes_is_not_tried_again_until_they_change(
    engine: Engine, label_set: LabelSet
) -> None:
    commit(engine, label_set, broken(A, reason="truncated"), broken(B, reason="worker_died"))
    assert planned(engine, Listed(A, "t1"), Listed(B, "t1")) == []
    assert planned(engine, Listed(A, "t2"), Listed(B, "t1")) == [A]


def test_a_retry_that_is_not_due_yet_is_no_work(engine: Engine, label_set: LabelSet) -> None:
    commit(engine, label_set, unread(A))
    commit(engine, label_set, unread(A))
    assert planned(engine, Listed(A, "t1")) == []
    time_passes(engine, A, 17 * HOUR)
    assert planned(engine, Listed(A, "t1")) == []
    time_passes(engine, A, 2 * HOUR)
    assert planned(engine, Listed(A, "t1")) == [A]


# How often ------------------------------------------------------------------------------------------------


def test_attempts_are_counted_and_a_cured_photo_leaves_quarantine(
    engine: Engine, label_set: LabelSet
) -> None:
    assert commit(engine, label_set, broken(A), broken(B)) == Counts(0, 0, 2, 2)
    [first] = listed(engine, Chosen(uri=A), 10)
    assert commit(engine, label_set, broken(A, reason="truncated")) == Counts(0, 0, 1, 0)
    assert commit(engine, label_set, unread(A)) == Counts(0, 0, 1, 0)
    [last] = listed(engine, Chosen(uri=A), 10)
    assert (last.reason, last.attempts, last.first_failed_at) == ("unreadable", 3, first.first_failed_at)
    assert last.last_failed_at > first.last_failed_at
    assert commit(engine, label_set, shows(A, "shoe", "t2")) == Counts(0, 1, 0)
    assert rows(engine, "SELECT uri, attempts FROM quarantined_images") == [(B, 1)]
    assert commit(engine, label_set, unread(A, "t3")) == Counts(0, 0, 1, 1)
    assert listed(engine, Chosen(uri=A), 10)[0].attempts == 1


def test_changed_bytes_have_a_budget_of_their_own(engine: Engine, label_set: LabelSet) -> None:
    for _ in range(MAX_ATTEMPTS):
        commit(engine, label_set, unread(A))
    [spent] = listed(engine, Chosen(), 10)
    assert (spent.attempts, spent.retry_at) == (MAX_ATTEMPTS, None)
    assert commit(engine, label_set, unread(A, "t2")) == Counts(0, 0, 1, newly_quarantined=1)
    [anew] = listed(engine, Chosen(), 10)
    assert anew.attempts == 1
    assert anew.first_failed_at == anew.last_failed_at == anew.retry_at
    assert anew.first_failed_at > spent.last_failed_at


def test_a_photo_that_was_tagged_before_fails_anew_with_the_bytes_it_had(
    engine: Engine, label_set: LabelSet
) -> None:
    commit(engine, label_set, shows(A, "shoe"))
    assert commit(engine, label_set, unread(A)) == Counts(0, 0, 1, newly_quarantined=1)


# What can be seen and done --------------------------------------------------------------------------------


def test_the_list_tells_what_failed_last_first_and_no_more_than_asked_for(
    engine: Engine, label_set: LabelSet
) -> None:
    commit(engine, label_set, broken(C), unread(B))
    commit(engine, label_set, broken(A, reason="truncated"))
    found = listed(engine, Chosen(), 10)
    assert [(row.uri, row.reason, row.detail, row.attempts) for row in found] == [
        (A, "truncated", "made up", 1),
        (B, "unreadable", "made up", 1),
        (C, "broken", "made up", 1),
    ]
    assert [row.retry_at is None for row in found] == [True, False, True]
    assert listed(engine, Chosen(), 2) == found[:2]
    assert listed(engine, Chosen(reason="broken"), 10) == [found[2]]
    assert listed(engine, Chosen(uri=B), 10) == [found[1]]
    assert listed(engine, Chosen(reason="broken", uri=B), 10) == []
    assert found[0].as_dict() == {
        "uri": A,
        "reason": "truncated",
        "detail": "made up",
        "attempts": 1,
        "first_failed_at": found[0].first_failed_at,
        "last_failed_at": found[0].last_failed_at,
        "retry_at": None,
    }


def test_reasons_are_counted_the_most_frequent_first(engine: Engine, label_set: LabelSet) -> None:
    commit(engine, label_set, broken(A), unread(B), unread(C), broken(D, reason="empty"))
    assert by_reason(engine, Chosen()) == [("unreadable", 2), ("broken", 1), ("empty", 1)]
    assert by_reason(engine, Chosen(uri=A)) == [("broken", 1)]
    assert by_reason(engine, Chosen(reason="gone")) == []


def test_what_vanished_is_neither_listed_nor_counted_nor_tried_again(
    engine: Engine, label_set: LabelSet
) -> None:
    commit(engine, label_set, broken(A), broken(B))
    found = plan.scan(engine, new_run(engine), PREFIX, iter([Listed(B, "t1")]), lambda _: None)
    plan.mark_presence(engine, found)
    assert [row.uri for row in listed(engine, Chosen(), 10)] == [B]
    assert by_reason(engine, Chosen()) == [("broken", 1)]
    assert retry(engine, Chosen(uri=A)) == 0
    assert retry(engine, Chosen()) == 1


@pytest.mark.parametrize(
    ("chosen", "tried"),
    [(Chosen(), [A, B, C]), (Chosen(reason="broken"), [A, B]), (Chosen(uri=B), [B])],
)
def test_a_retry_by_hand_lets_the_next_run_try_the_chosen_with_their_whole_budget(
    engine: Engine, label_set: LabelSet, chosen: Chosen, tried: list[str]
) -> None:
    commit(engine, label_set, broken(A), broken(B), broken(C, reason="worker_died"), shows(D, "shoe"))
    assert retry(engine, chosen) == len(tried)
    assert planned(engine, *(Listed(uri, "t1") for uri in (A, B, C, D))) == tried
    for uri in tried:
        assert commit(engine, label_set, unread(uri)) == Counts(0, 0, 1, newly_quarantined=0)
    attempts = {row.uri: (row.attempts, row.retry_at is None) for row in listed(engine, Chosen(), 10)}
    assert attempts == {uri: (1, uri not in tried) for uri in (A, B, C)}


def test_a_retry_by_hand_leaves_what_is_known_of_the_failure(engine: Engine, label_set: LabelSet) -> None:
    commit(engine, label_set, broken(A))
    [before] = listed(engine, Chosen(), 10)
    retry(engine, Chosen())
    [after] = listed(engine, Chosen(), 10)
    with writing(engine) as connection:
        now = clock(connection)
    assert after.retry_at is not None
    assert before.last_failed_at <= after.retry_at <= now + timedelta(seconds=30)
    assert after == Quarantined(**before.as_dict() | {"attempts": 0, "retry_at": after.retry_at})


def test_an_empty_quarantine_is_empty(engine: Engine) -> None:
    assert listed(engine, Chosen(), 10) == []
    assert by_reason(engine, Chosen()) == []
    assert retry(engine, Chosen()) == 0


@ON_POSTGRESQL
@pytest.mark.parametrize("fault", ["rst-before", "rst-after"])
def test_a_retry_over_a_connection_that_breaks_is_told_all_the_same(
    engine: Engine, far: Engine, proxy: FaultProxy, label_set: LabelSet, fault: str
) -> None:
    commit(engine, label_set, broken(A), broken(B))
    before = contents_of(engine)
    rows(far, "SELECT 1")
    proxy.mode = f"{fault}:{COMMIT}:1"
    assert retry(far, Chosen()) == 2
    assert proxy.struck == 1
    after = contents_of(engine)
    assert rows(engine, "SELECT DISTINCT attempts FROM quarantine") == [(0,)]
    assert after | {"quarantine": before["quarantine"]} == before
