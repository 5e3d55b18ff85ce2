"""Claims: who has which photos for how long, what dead workers leave, and that a late one writes nothing."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from tasks.catalog import heartbeat, ledger, plan
from tasks.catalog.commit import Counts, commit_shard
from tasks.catalog.engine import clock, reading
from tasks.catalog.ledger import MAX_CLAIMS, Claim, Left
from tasks.catalog.models import LabelSet
from tasks.catalog.runs import record_listing, recorded, summary
from tasks.sources import Listed
from tests.catalogue_fixtures import contents_of, new_run, rows
from tests.servers.proxy import FaultProxy
from tests.tasks.catalog.databases import COMMIT, ON_POSTGRESQL, Passing, moment, moves_on
from tests.tasks.catalog.made_results import (
    begun,
    broken,
    claim_of,
    digest,
    end_leases,
    put_to_work,
    result,
    shows,
)

PREFIX = "file:///photos/"
A, B, C, D = (PREFIX + name for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"))

LEASE = "SELECT MIN(leased_until) AS at FROM work"


@pytest.fixture
def label_set(engine: Engine) -> LabelSet:
    return begun(engine)


def numbered(count: int, first: int = 0) -> list[str]:
    return [f"{PREFIX}{number:03}" for number in range(first, first + count)]


def uris(claim: Claim) -> list[str]:
    return [photo.uri for photo in claim.photos]


def die_over(engine: Engine, run_id: int, size: int) -> list[str]:
    """What a worker claims that dies; its lease is over."""
    claim = ledger.claim(engine, run_id, size)
    end_leases(engine, claim)
    return uris(claim)


def scan(engine: Engine, run_id: int, photos: Iterable[str], token: str = "t1", prefix: str = PREFIX) -> None:
    listing = [Listed(uri, token) for uri in sorted(photos)]
    found = plan.scan(engine, run_id, prefix, iter(listing), lambda _: None)
    record_listing(engine, run_id, prefix, found.listed, 0)


# Whose photos are -----------------------------------------------------------------------------------------


def test_a_claim_takes_as_many_as_asked_for_in_the_order_of_planning(engine: Engine) -> None:
    run_id = new_run(engine)
    put_to_work(engine, run_id, [C, A], token="t7")
    put_to_work(engine, run_id, [B])
    with reading(engine) as connection:
        before = clock(connection)
    claim = ledger.claim(engine, run_id, 2)
    assert [(photo.uri, photo.change_token, photo.hopeless) for photo in claim.photos] == [
        (C, "t7", False),
        (A, "t7", False),
    ]
    keys = dict(rows(engine, "SELECT uri, work_id FROM work"))
    assert [photo.work_id for photo in claim.photos] == [keys[C], keys[A]]
    assert rows(engine, "SELECT uri, claims, owner FROM work ORDER BY uri") == [
        (A, 1, claim.owner),
        (B, 0, None),
        (C, 1, claim.owner),
    ]
    until = moment(engine, LEASE)
    assert until is not None
    lease = timedelta(seconds=heartbeat.LEASE_S)
    assert before + lease <= until <= before + lease + timedelta(seconds=30)


def test_what_is_held_is_nobody_else_s(engine: Engine) -> None:
    run_id = new_run(engine)
    first = claim_of(engine, run_id, [A, B])
    put_to_work(engine, run_id, [C])
    second = ledger.claim(engine, run_id, 10)
    assert uris(second) == [C]
    assert first.owner != second.owner
    assert ledger.claim(engine, run_id, 10).photos == ()
    assert ledger.left(engine, run_id) == Left(photos=3, free=0)


def test_no_work_is_an_empty_claim(engine: Engine) -> None:
    run_id = new_run(engine)
    assert ledger.claim(engine, run_id, 10).photos == ()
    assert ledger.left(engine, run_id) == Left(0, 0)
    put_to_work(engine, new_run(engine), [A])
    assert ledger.claim(engine, run_id, 10).photos == ()  # it is another run's
    assert ledger.left(engine, run_id) == Left(0, 0)


def test_what_a_dead_worker_held_is_free_when_its_lease_is_over(engine: Engine) -> None:
    run_id = new_run(engine)
    dead = claim_of(engine, run_id, [A, B])
    assert ledger.left(engine, run_id) == Left(2, 0)
    end_leases(engine, dead)
    assert ledger.left(engine, run_id) == Left(2, 2)
    heir = ledger.claim(engine, run_id, 10)
    assert uris(heir) == [A, B]
    assert rows(engine, "SELECT DISTINCT owner, claims FROM work") == [(heir.owner, 2)]


def test_a_lease_is_prolonged_for_what_is_still_the_claim_s(engine: Engine) -> None:
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [A, B, C])
    end_leases(engine, claim)
    [taken] = uris(ledger.claim(engine, run_id, 1))
    assert taken == A
    assert ledger.renew(engine, claim) == 2  # a sleeper that wakes up before anybody came
    assert ledger.left(engine, run_id) == Left(3, 0)
    end_leases(engine, claim)
    moved = ledger.claim(engine, run_id, 10)
    assert uris(moved) == [B, C]
    assert ledger.renew(engine, claim) == 0
    assert {owner for (owner,) in rows(engine, "SELECT owner FROM work WHERE claims = 2")} >= {moved.owner}


# What workers died over -----------------------------------------------------------------------------------


def test_what_workers_died_over_is_claimed_last_in_small_numbers_and_then_alone(engine: Engine) -> None:
    run_id = new_run(engine)
    put_to_work(engine, run_id, numbered(40))
    assert die_over(engine, run_id, 25) == numbered(25)
    assert die_over(engine, run_id, 100) == numbered(15, 25)  # fresh ones come first
    assert die_over(engine, run_id, 100) == numbered(16)
    assert die_over(engine, run_id, 5) == numbered(5, 16)
    assert die_over(engine, run_id, 100) == numbered(16, 21)
    assert die_over(engine, run_id, 100) == numbered(3, 37)
    assert die_over(engine, run_id, 100) == numbered(1)  # each has been claimed twice now
    assert die_over(engine, run_id, 100) == numbered(1, 1)


def test_a_photo_that_too_many_workers_died_over_is_hopeless(engine: Engine) -> None:
    run_id = new_run(engine)
    put_to_work(engine, run_id, [A])
    hopes = []
    for _ in range(MAX_CLAIMS + 2):
        claim = ledger.claim(engine, run_id, 10)
        hopes.append([photo.hopeless for photo in claim.photos])
        end_leases(engine, claim)
    assert hopes == [[False], [False], [False], [True], [True]]


def test_changed_bytes_give_a_photo_all_its_chances_again(engine: Engine) -> None:
    run_id = new_run(engine)
    put_to_work(engine, run_id, [A, B])
    for _ in range(MAX_CLAIMS):
        die_over(engine, run_id, 2)
        die_over(engine, run_id, 2)
    later = new_run(engine)
    plan.scan(engine, later, PREFIX, iter([Listed(A, "t2"), Listed(B, "t1")]), lambda _: None)
    first, second = ledger.claim(engine, later, 10), ledger.claim(engine, later, 10)
    assert [(photo.uri, photo.hopeless) for photo in (*first.photos, *second.photos)] == [
        (A, False),
        (B, True),
    ]


# The fence ------------------------------------------------------------------------------------------------


def test_a_late_commit_of_a_claim_that_was_taken_over_writes_nothing(
    engine: Engine, label_set: LabelSet
) -> None:
    run_id = new_run(engine)
    late = claim_of(engine, run_id, [A, B])
    end_leases(engine, late)
    heir = ledger.claim(engine, run_id, 10)
    before = contents_of(engine)
    shard = result([shows(A, "shoe"), broken(B)], ["shoe"])
    assert commit_shard(engine, run_id, late, label_set, shard) == Counts(0, 0, 0)
    assert contents_of(engine) == before
    assert commit_shard(engine, run_id, heir, label_set, shard) == Counts(1, 1, 1, 1)
    before = contents_of(engine)
    assert commit_shard(engine, run_id, late, label_set, shard) == Counts(0, 0, 0)
    assert contents_of(engine) == before


def test_a_late_commit_writes_the_part_that_is_still_its_own(engine: Engine, label_set: LabelSet) -> None:
    run_id = new_run(engine)
    late = claim_of(engine, run_id, [A, B, C, D])
    end_leases(engine, late)
    heir = ledger.claim(engine, run_id, 2)
    assert uris(heir) == [A, B]
    shard = result(
        [shows(A, "shoe"), shows(B, "hat"), shows(C, "hat"), shows(D, "bag")], ["shoe", "hat", "bag"]
    )
    assert commit_shard(engine, run_id, late, label_set, shard) == Counts(2, 2, 0)
    assert set(rows(engine, "SELECT uri, sha256 FROM catalog_labels")) == {
        (C, digest("hat")),
        (D, digest("bag")),
    }
    assert rows(engine, "SELECT uri, owner FROM work ORDER BY uri") == [(A, heir.owner), (B, heir.owner)]
    assert {sha256 for (sha256,) in rows(engine, "SELECT sha256 FROM contents")} == {
        digest("hat"),
        digest("bag"),
    }
    assert commit_shard(engine, run_id, heir, label_set, shard) == Counts(1, 2, 0)
    assert rows(engine, "SELECT * FROM work") == []


def test_a_lease_that_is_over_costs_nothing_if_nobody_came(engine: Engine, label_set: LabelSet) -> None:
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [A])
    end_leases(engine, claim)
    shard = result([shows(A, "shoe")], ["shoe"])
    assert commit_shard(engine, run_id, claim, label_set, shard) == Counts(1, 1, 0)


def test_bytes_that_changed_while_a_worker_held_the_old_ones_remain_to_be_done(
    engine: Engine, label_set: LabelSet
) -> None:
    older = new_run(engine)
    claim = claim_of(engine, older, [A, B])
    younger = new_run(engine)
    plan.scan(engine, younger, PREFIX, iter([Listed(A, "t2"), Listed(B, "t1")]), lambda _: None)
    shard = result([shows(A, "shoe", "t1"), shows(B, "shoe", "t1")], ["shoe"])
    assert commit_shard(engine, older, claim, label_set, shard) == Counts(1, 1, 0)
    again = ledger.claim(engine, younger, 10)
    assert [(photo.uri, photo.change_token) for photo in again.photos] == [(A, "t2")]
    shard = result([shows(A, "hat", "t2")], ["hat"])
    assert commit_shard(engine, younger, again, label_set, shard) == Counts(1, 1, 0)
    assert set(rows(engine, "SELECT uri, sha256 FROM catalog_labels")) == {
        (A, digest("hat")),
        (B, digest("shoe")),
    }


# Giving back ----------------------------------------------------------------------------------------------


def test_what_is_given_back_is_free_and_does_not_count(engine: Engine) -> None:
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [A, B])
    end_leases(engine, claim)
    heir = ledger.claim(engine, run_id, 1)
    ledger.release(engine, claim)  # of which A is not its own any more
    assert rows(engine, "SELECT uri, claims, owner FROM work ORDER BY uri") == [
        (A, 2, heir.owner),
        (B, 0, None),
    ]
    ledger.release(engine, heir)
    assert rows(engine, "SELECT uri, claims, owner, leased_until FROM work ORDER BY uri") == [
        (A, 1, None, None),
        (B, 0, None, None),
    ]
    assert ledger.left(engine, run_id) == Left(2, 2)
    ledger.release(engine, heir)
    assert rows(engine, "SELECT claims FROM work ORDER BY uri") == [(1,), (0,)]


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_a_block_that_fails_gives_its_photos_back(engine: Engine, error: BaseException) -> None:
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [A, B])
    with pytest.raises(type(error)), ledger.held(engine, claim):
        raise error
    assert rows(engine, "SELECT DISTINCT claims, owner, leased_until FROM work") == [(0, None, None)]


def test_a_block_that_ends_well_keeps_its_photos(engine: Engine) -> None:
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [A, B])
    with ledger.held(engine, claim):
        pass
    assert rows(engine, "SELECT DISTINCT claims, owner FROM work") == [(1, claim.owner)]


def test_a_lease_is_prolonged_while_the_block_runs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED_EVERY_S", 0.001)
    claim = claim_of(engine, new_run(engine), [A])
    end_leases(engine, claim)
    with ledger.held(engine, claim):
        moves_on(engine, LEASE)
        moves_on(engine, LEASE)


def test_an_error_is_not_hidden_by_a_database_that_is_gone(engine: Engine) -> None:
    claim = claim_of(engine, new_run(engine), [A])
    with pytest.raises(ZeroDivisionError), ledger.held(engine, Claim("nobody", claim.photos)):
        with reading(engine):
            pass
        raise ZeroDivisionError


# Many at once ---------------------------------------------------------------------------------------------


def test_many_threads_claim_all_the_work_and_none_of_it_twice(engine: Engine, label_set: LabelSet) -> None:
    run_id = new_run(engine)
    photos = numbered(200)
    put_to_work(engine, run_id, photos)
    begin = Barrier(8)

    def work_off(_: int) -> list[str]:
        done = []
        begin.wait()
        while ledger.left(engine, run_id).photos:
            claim = ledger.claim(engine, run_id, 7)
            words = sorted({uri[-1] for uri in uris(claim)})  # ten contents, which all of them meet
            shard = result([shows(uri, uri[-1]) for uri in uris(claim)], words)
            if claim.photos:
                counts = commit_shard(engine, run_id, claim, label_set, shard)
                assert counts.tagged == len(claim.photos)
            done += uris(claim)
        return done

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work_off, range(8)))
    assert sorted(uri for part in done for uri in part) == photos
    assert summary(engine, run_id).tagged == 200
    assert summary(engine, run_id).embedded == 10
    assert rows(engine, "SELECT COUNT(*) FROM photos") == [(200,)]


def test_runs_at_once_share_the_work_and_their_counts_add_up(engine: Engine, label_set: LabelSet) -> None:
    photos = numbered(60)
    begin = Barrier(4)

    def night(_: int) -> int:
        with recorded(engine, "nightly-tagging", "photos", None) as run_id:
            begin.wait()
            scan(engine, run_id, photos)
            while ledger.left(engine, run_id).photos:
                claim = ledger.claim(engine, run_id, 5)
                words = sorted({uri[-1] for uri in uris(claim)})
                shard = result([shows(uri, uri[-1]) for uri in uris(claim)], words)
                commit_shard(engine, run_id, claim, label_set, shard)
        return run_id

    with ThreadPoolExecutor(4) as pool:
        runs = [summary(engine, run_id) for run_id in pool.map(night, range(4))]
    assert sum(run.tagged for run in runs) == 60
    assert sum(run.embedded for run in runs) == 10
    for run in runs:
        assert (run.status, run.listed, run.remaining) == ("completed", 60, 0)
        assert run.known == 60 - run.tagged
    assert rows(engine, "SELECT COUNT(*), COUNT(DISTINCT uri) FROM photos") == [(60, 60)]
    assert rows(engine, "SELECT * FROM work") == []


# Whose work it is -----------------------------------------------------------------------------------------


def test_work_that_two_runs_listed_is_wanted_by_both_and_by_those_between(engine: Engine) -> None:
    runs = [new_run(engine) for _ in range(5)]
    _, first, between, last, _ = runs
    scan(engine, first, [A])
    scan(engine, last, [A, B])
    assert [ledger.left(engine, run_id).photos for run_id in runs] == [0, 1, 1, 2, 0]
    scan(engine, between, [A])  # its listing is slow
    assert [ledger.left(engine, run_id).photos for run_id in runs] == [0, 1, 1, 2, 0]
    assert rows(engine, "SELECT first_run_id, last_run_id FROM work ORDER BY uri") == [
        (first, last),
        (last, last),
    ]


def test_the_order_in_which_runs_scan_does_not_matter(engine: Engine) -> None:
    older, younger = new_run(engine), new_run(engine)
    scan(engine, younger, [A, B], token="t2")
    scan(engine, older, [B, C], token="t1")
    assert rows(engine, "SELECT uri, change_token, first_run_id, last_run_id FROM work ORDER BY uri") == [
        (A, "t2", younger, younger),
        (B, "t2", older, younger),
        (C, "t1", older, older),
    ]


def test_an_older_run_does_its_own_before_what_a_younger_one_wants_too(engine: Engine) -> None:
    older, younger = new_run(engine), new_run(engine)
    scan(engine, older, [A, B, C])
    scan(engine, younger, [A])
    assert uris(ledger.claim(engine, older, 2)) == [B, C]
    assert uris(ledger.claim(engine, older, 2)) == [A]


def test_runs_over_several_sources_leave_each_other_s_photos_alone(
    engine: Engine, label_set: LabelSet
) -> None:
    """What a dead run left of one source is found again by a younger run; between them is one of another."""
    elsewhere = "file:///studio/"
    left_over = new_run(engine, PREFIX)
    scan(engine, left_over, [A, B])
    with recorded(engine, "nightly-tagging", elsewhere, None) as between:
        scan(engine, between, [elsewhere + "x.jpg"], prefix=elsewhere)
        scan(engine, new_run(engine, PREFIX), [A, B])
        claim = ledger.claim(engine, between, 10)
        assert uris(claim) == [elsewhere + "x.jpg"]
        commit_shard(engine, between, claim, label_set, result([broken(uri) for uri in uris(claim)]))
        assert ledger.left(engine, between) == Left(0, 0)
    run = summary(engine, between)
    assert (run.listed, run.known, run.quarantined, run.remaining) == (1, 0, 1, 0)


# Outages --------------------------------------------------------------------------------------------------


@ON_POSTGRESQL
@pytest.mark.parametrize("fault", ["rst-before", "rst-after"])
def test_a_claim_over_a_connection_that_breaks_is_made_once(
    engine: Engine, far: Engine, proxy: FaultProxy, fault: str
) -> None:
    run_id = new_run(engine)
    put_to_work(engine, run_id, [A, B, C])
    rows(far, "SELECT 1")
    proxy.mode = f"{fault}:{COMMIT}:1"
    claim = ledger.claim(far, run_id, 2)
    assert proxy.struck == 1
    assert uris(claim) == [A, B]
    assert rows(engine, "SELECT uri, claims, owner FROM work ORDER BY uri") == [
        (A, 1, claim.owner),
        (B, 1, claim.owner),
        (C, 0, None),
    ]


@ON_POSTGRESQL
@pytest.mark.parametrize("fault", ["rst-before", "rst-after"])
def test_a_scan_over_a_connection_that_breaks_plans_once(
    engine: Engine, far: Engine, proxy: FaultProxy, fault: str
) -> None:
    run_id = new_run(engine)
    rows(far, "SELECT 1")
    proxy.mode = f"{fault}:{COMMIT}:1"
    scan(far, run_id, [A, B])
    assert proxy.struck == 1
    assert rows(engine, "SELECT uri, first_run_id, last_run_id, claims FROM work ORDER BY uri") == [
        (A, run_id, run_id, 0),
        (B, run_id, run_id, 0),
    ]


# Against the same in a list -------------------------------------------------------------------------------


@dataclass
class Planned:
    """One photo of the list of work. holder: the number of the claim that has it or had it last."""

    uri: str
    claims: int = 0
    holder: int | None = None
    leased: bool = False


@dataclass
class Model:
    """What the list of work ought to hold: photos in the order of planning."""

    work: list[Planned] = field(default_factory=list)
    claims: int = 0
    planned: int = 0

    def plan(self, count: int) -> list[str]:
        fresh = numbered(count, self.planned)
        self.planned += count
        self.work += [Planned(uri) for uri in fresh]
        return fresh

    def claim(self, size: int) -> list[tuple[str, bool]]:
        self.claims += 1
        free = [photo for photo in self.work if not photo.leased]
        fewest = min((photo.claims for photo in free), default=0)
        limit = {0: size, 1: min(size, 16)}.get(fewest, 1)
        taken = [photo for photo in free if photo.claims == fewest][:limit]
        for photo in taken:
            photo.claims, photo.holder, photo.leased = photo.claims + 1, self.claims, True
        return [(photo.uri, photo.claims > 3) for photo in taken]

    def of(self, number: int) -> list[Planned]:
        return [photo for photo in self.work if photo.holder == number]

    def rows(self) -> list[tuple[str, int, bool]]:
        return sorted((photo.uri, photo.claims, photo.leased) for photo in self.work)


STEPS = st.one_of(
    st.tuples(st.just("plan"), st.integers(1, 20)),
    st.tuples(st.just("claim"), st.integers(1, 20)),
    st.tuples(st.sampled_from(["die", "release", "renew", "commit"]), st.integers(0, 5)),
)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEPS, max_size=25))
def test_the_list_of_work_is_what_a_list_would_be(passing: Passing, steps: list[tuple[str, int]]) -> None:
    model = Model()
    with passing() as engine:
        label_set, run_id = begun(engine), new_run(engine)
        claims: list[Claim] = []
        for step, number in [("plan", 20), *steps]:
            if step == "plan":
                put_to_work(engine, run_id, model.plan(number))
            elif step == "claim":
                claims.append(ledger.claim(engine, run_id, number))
                assert [(p.uri, p.hopeless) for p in claims[-1].photos] == model.claim(number)
            elif claims:
                back = number % len(claims)
                step_with(engine, run_id, label_set, model, step, claims[-1 - back], len(claims) - back)
            assert sorted(rows(engine, "SELECT uri, claims FROM work")) == [
                (uri, n) for uri, n, _ in model.rows()
            ]
            free = [photo for photo in model.work if not photo.leased]
            assert ledger.left(engine, run_id) == Left(len(model.work), len(free))
        done = summary(engine, run_id).tagged
        assert done + len(model.work) == model.planned


def step_with(
    engine: Engine, run_id: int, label_set: LabelSet, model: Model, step: str, claim: Claim, number: int
) -> None:
    """One of the earlier claims, which may be over by now, lets its lease end, or is renewed, or ..."""
    mine = model.of(number)
    if step == "die":
        end_leases(engine, claim)
        for photo in mine:
            photo.leased = False
    elif step == "renew":
        assert ledger.renew(engine, claim) == len(mine)
        for photo in mine:
            photo.leased = True
    elif step == "release":
        ledger.release(engine, claim)
        for photo in mine:
            photo.claims, photo.holder, photo.leased = photo.claims - 1, None, False
    elif not rows(engine, "SELECT 1 FROM shards WHERE claim = :owner", owner=claim.owner):
        shard = result([shows(photo.uri, "shoe") for photo in claim.photos], ["shoe"])
        assert commit_shard(engine, run_id, claim, label_set, shard).tagged == len(mine)
        model.work = [photo for photo in model.work if photo.holder != number]
