"""A listing merged with the catalogue, against the same in plain sets; and the list of work."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, literal, select, update

from fashion_clip.errors import CatalogError, SourceError
from tasks.catalog import plan, tables
from tasks.catalog.engine import clock, reading, writing
from tasks.catalog.ledger import Left, claim, left
from tasks.catalog.runs import close_dead_runs
from tasks.catalog.tables import ByteOrderedText, photos, runs, shards
from tasks.sources import Listed
from tests.catalogue_fixtures import contents_of, new_run, rows
from tests.tasks.catalog.databases import ON_POSTGRESQL, ON_SQLITE, Passing, run
from tests.tasks.catalog.made_results import put_to_work

PREFIX = "file:///photos/"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

KEYS = st.sampled_from(
    ["a", "a-b", "a.jpg", "a%2Fb", "a/x", "a/", "a0", "b", "B", "%FF", "~", "z/z/z", "-", "_"]
)
TOKENS = st.sampled_from(["1-1", "2-2"])


@dataclass(frozen=True)
class Known:
    """What the catalogue has of a photo. retry: in how many days; None if it has not failed."""

    token: str | None
    vanished: bool = False
    retry: int | None = None

    @property
    def due(self) -> bool:
        return self.retry is not None and self.retry <= 0


KNOWN = st.dictionaries(
    KEYS,
    st.builds(Known, st.one_of(st.none(), TOKENS), st.booleans(), st.sampled_from([None, None, -1, 0, 1])),
)
LISTINGS = st.dictionaries(KEYS, TOKENS)
# Beside the source, before and after it in byte order: none of them is its business.
ELSEWHERE = (
    "file:///photos",
    "file:///photos-2/a",
    "file:///photos.jpg",
    "file:///photos0",
    "file:///PHOTOS/a",
)


Below = Callable[[str, str], bool]


@pytest.fixture(scope="module")
def below(passing: Passing) -> Iterator[Below]:
    """What the database says of a URI and a prefix."""
    with passing() as engine, reading(engine) as connection:
        yield lambda uri, prefix: bool(
            connection.execute(select(plan.below(literal(uri, ByteOrderedText), prefix))).scalar_one()
        )


@contextmanager
def pages_of(size: int) -> Iterator[None]:
    before, plan.PAGE = plan.PAGE, size
    try:
        yield
    finally:
        plan.PAGE = before


def fill(engine: Engine, known: Mapping[str, Known]) -> dict[str, int]:
    """Puts photos into the catalogue; returns their ids by URI."""
    shard = {"run_id": new_run(engine), "committed_at": LONG_AGO}
    counts = dict.fromkeys(("embedded", "tagged", "quarantined", "newly_quarantined"), 0)
    with writing(engine) as connection:
        query = insert(shards).returning(shards.c.shard_id)
        shard_id = connection.execute(query, shard | counts).scalar_one()
        now = clock(connection)
        for uri, photo in known.items():
            row = {"uri": uri, "product_id": "p", "change_token": photo.token, "shard_id": shard_id}
            vanished = {"vanished_at": LONG_AGO if photo.vanished else None}
            key = connection.execute(insert(photos).returning(photos.c.photo_id), row | vanished).scalar_one()
            if photo.retry is not None:
                failed = {"photo_id": key, "reason": "gone", "detail": "", "attempts": 1}
                times = {"first_failed_at": LONG_AGO, "last_failed_at": LONG_AGO}
                due = {"retry_at": now + timedelta(days=photo.retry)}
                connection.execute(insert(tables.quarantine), failed | times | due)
    return dict(rows(engine, "SELECT uri, photo_id FROM photos"))


def listing(tokens: dict[str, str]) -> Iterator[Listed]:
    return iter([Listed(uri, tokens[uri]) for uri in sorted(tokens)])


def ignore(_: int) -> None:
    """Where nobody watches how far a listing is."""


def work_rows(engine: Engine) -> dict[str, tuple[int, int, int]]:
    """URI -> work_id, first_run_id, last_run_id."""
    query = "SELECT uri, work_id, first_run_id, last_run_id FROM work"
    return {uri: tuple(row) for uri, *row in rows(engine, query)}


def ended(engine: Engine, *run_ids: int) -> None:
    with writing(engine) as connection:
        query = update(runs).where(runs.c.run_id.in_(run_ids))
        connection.execute(query.values(status="failed"))


def dead(engine: Engine, *run_ids: int) -> None:
    """As if their processes had been killed more than a lease ago; nobody has closed them yet."""
    with writing(engine) as connection:
        past = clock(connection) - timedelta(seconds=1)
        connection.execute(update(runs).where(runs.c.run_id.in_(run_ids)).values(alive_until=past))


@settings(max_examples=60, deadline=None)
@given(
    known=KNOWN,
    listed=LISTINGS,
    left_over=st.sets(KEYS),
    page=st.sampled_from([1, 2, 3, plan.PAGE]),
)
def test_a_scan_finds_what_sets_find(
    passing: Passing,
    known: dict[str, Known],
    listed: dict[str, str],
    left_over: set[str],
    page: int,
) -> None:
    known = {PREFIX + key: photo for key, photo in known.items()}
    listed = {PREFIX + key: token for key, token in listed.items()}
    with passing() as engine, pages_of(page):
        ids = fill(engine, known | dict.fromkeys(ELSEWHERE, Known("0-0")))
        earlier = new_run(engine)
        put_to_work(engine, earlier, [*sorted(PREFIX + key for key in left_over), *ELSEWHERE], "0-0")
        ended(engine, earlier)
        before = work_rows(engine)
        run_id = new_run(engine)

        found = plan.scan(engine, run_id, PREFIX, listing(listed), ignore)
        plan.drop_unlisted_work(engine, run_id, PREFIX)

        present = {uri for uri, photo in known.items() if not photo.vanished}
        to_do = {
            uri
            for uri, token in listed.items()
            if uri not in known or known[uri].token != token or known[uri].due
        }
        unchanged = listed.keys() - to_do
        assert found.listed == len(listed)
        assert found.planned == len(to_do)
        assert found.present == len(present)
        assert sorted(found.vanished) == sorted(ids[uri] for uri in present - listed.keys())
        assert sorted(found.returned) == sorted(ids[uri] for uri in unchanged if known[uri].vanished)

        after = work_rows(engine)
        assert after.keys() == to_do | set(ELSEWHERE)
        assert dict(rows(engine, "SELECT uri, change_token FROM work")) == (
            {uri: listed[uri] for uri in to_do} | dict.fromkeys(ELSEWHERE, "0-0")
        )
        for uri in ELSEWHERE:
            assert after[uri] == before[uri]
        for uri in to_do:
            assert after[uri][1:] == (earlier if uri in before else run_id, run_id)
            assert uri not in before or after[uri][0] == before[uri][0]

        plan.mark_presence(engine, found)
        shown = {uri: at is None for uri, at in rows(engine, "SELECT uri, vanished_at FROM photos")}
        assert {uri for uri in known if shown[uri]} == (present & listed.keys()) | {
            uri for uri in unchanged if known[uri].vanished
        }
        assert all(shown[uri] for uri in ELSEWHERE)


def test_more_photos_than_a_page_holds(engine: Engine) -> None:
    many = {f"{PREFIX}{number:06}.jpg": "1-1" for number in range(2 * plan.PAGE + 1)}
    told: list[int] = []
    first = plan.scan(engine, new_run(engine), PREFIX, listing(many), told.append)
    assert (first.listed, first.planned, first.present) == (10_001, 10_001, 0)
    assert told == [5_000, 10_000, 10_001]
    ids = fill(engine, {uri: Known(token) for uri, token in many.items()})
    gone = f"{PREFIX}{plan.PAGE - 1:06}.jpg"  # the last of a page
    second = plan.scan(engine, new_run(engine), PREFIX, listing(many | {gone: "2-2"}), ignore)
    assert (second.listed, second.planned, second.present, len(second.vanished)) == (10_001, 1, 10_001, 0)
    del many[gone]
    third_run = new_run(engine)
    third = plan.scan(engine, third_run, PREFIX, listing(many), ignore)
    assert (third.planned, list(third.vanished)) == (0, [ids[gone]])
    assert left(engine, third_run) == Left(0, 0)


@ON_SQLITE
def test_a_scan_that_finds_nothing_writes_nothing(engine: Engine) -> None:
    fill(engine, {PREFIX + key: Known("1-1") for key in "abc"} | {"file:///other/a": Known("1-1")})
    run_id = new_run(engine)
    before = contents_of(engine)
    watcher = sqlite3.connect(str(engine.url.database))
    version = watcher.execute("PRAGMA data_version").fetchone()
    found = plan.scan(engine, run_id, PREFIX, listing({PREFIX + key: "1-1" for key in "abc"}), ignore)
    assert watcher.execute("PRAGMA data_version").fetchone() == version
    watcher.close()
    assert (found.planned, len(found.vanished), len(found.returned)) == (0, 0, 0)
    assert contents_of(engine) == before


@ON_POSTGRESQL
def test_a_scan_that_finds_nothing_needs_no_right_to_write(engine: Engine) -> None:
    fill(engine, {PREFIX + key: Known("1-1") for key in "abc"})
    run_id = new_run(engine)
    run(engine, f"ALTER DATABASE {engine.url.database} SET default_transaction_read_only = on")
    engine.dispose()
    found = plan.scan(engine, run_id, PREFIX, listing({PREFIX + key: "1-1" for key in "abc"}), ignore)
    assert (found.planned, len(found.vanished), len(found.returned)) == (0, 0, 0)
    with pytest.raises(CatalogError, match="read-only"):
        plan.scan(engine, run_id, PREFIX, listing({PREFIX + "d": "1-1"}), ignore)


def test_what_is_planned_twice_is_planned_once(engine: Engine) -> None:
    tokens = {PREFIX + key: "1-1" for key in "abc"}
    first = new_run(engine)
    plan.scan(engine, first, PREFIX, listing(tokens), ignore)
    before = work_rows(engine)
    later = new_run(engine)
    found = plan.scan(engine, later, PREFIX, listing(tokens), ignore)
    assert found.planned == 3
    assert work_rows(engine) == {uri: (work_id, first, later) for uri, (work_id, *_) in before.items()}


def test_a_listing_that_breaks_off_keeps_what_it_planned_and_drops_nothing(engine: Engine) -> None:
    fill(engine, {PREFIX + "z": Known("1-1")})
    earlier = new_run(engine)
    put_to_work(engine, earlier, [PREFIX + "y"])
    ended(engine, earlier)

    def breaking() -> Iterator[Listed]:
        yield from listing({PREFIX + key: "1-1" for key in "abcde"})
        raise SourceError("the share went away")

    with pages_of(2), pytest.raises(SourceError):
        plan.scan(engine, new_run(engine), PREFIX, breaking(), ignore)
    assert work_rows(engine).keys() == {PREFIX + key for key in "abcdy"}
    assert rows(engine, "SELECT vanished_at FROM photos") == [(None,)]


def test_two_scans_at_once_lose_no_photo(engine: Engine) -> None:
    """The older run's scan overtakes the younger one's in the middle: both list the same photo."""
    older, younger = new_run(engine), new_run(engine)
    tokens = {PREFIX + "a": "1-1"}

    def overtaken() -> Iterator[Listed]:
        yield from listing(tokens)
        plan.scan(engine, older, PREFIX, listing(tokens), ignore)

    with pages_of(1):
        found = plan.scan(engine, younger, PREFIX, overtaken(), ignore)
    assert found.planned == 1
    assert work_rows(engine).keys() == tokens.keys()


# Left over by other runs ------------------------------------------------------------------------------------


def scan(engine: Engine, run_id: int, tokens: dict[str, str]) -> None:
    """As a run whose listing is believed."""
    plan.scan(engine, run_id, PREFIX, listing(tokens), ignore)
    plan.drop_unlisted_work(engine, run_id, PREFIX)


def test_a_younger_scan_leaves_the_work_of_an_older_run_that_still_runs(engine: Engine) -> None:
    """It came to the source after the younger listing had passed its place, and before the older one had."""
    older, younger = new_run(engine), new_run(engine)
    scan(engine, older, {PREFIX + "late": "1-1"})
    scan(engine, younger, {})
    assert work_rows(engine).keys() == {PREFIX + "late"}
    assert left(engine, older) == Left(1, 1)
    assert left(engine, younger) == Left(0, 0)


def test_a_scan_drops_what_runs_that_are_over_left_and_it_does_not_list(engine: Engine) -> None:
    killed, failed, unclosed = (new_run(engine) for _ in range(3))
    for number, run_id in enumerate((killed, failed, unclosed)):
        put_to_work(engine, run_id, [f"{PREFIX}{number}", f"{PREFIX}{number}-listed"])
    dead(engine, killed)
    assert close_dead_runs(engine) == 1
    ended(engine, failed)
    dead(engine, unclosed)  # it died less than a lease before this run began
    run_id = new_run(engine)
    tokens = {f"{PREFIX}{number}-listed": "t1" for number in range(3)}
    scan(engine, run_id, tokens)
    assert work_rows(engine).keys() == tokens.keys()
    assert left(engine, run_id) == Left(3, 3)


def test_work_is_left_while_any_run_that_listed_it_still_runs(engine: Engine) -> None:
    older, between = new_run(engine), new_run(engine)
    tokens = {PREFIX + "a": "1-1"}
    scan(engine, older, tokens)
    scan(engine, between, tokens)
    ended(engine, between)
    scan(engine, new_run(engine), {})
    assert left(engine, older) == Left(1, 1)
    ended(engine, older)
    scan(engine, new_run(engine), {})
    assert work_rows(engine) == {}


def test_what_another_run_finished_between_two_looks_is_planned_no_more(engine: Engine) -> None:
    """The photo is done after this scan has read the catalogue, and before it plans."""
    finished = {PREFIX + "a": Known("1-1"), PREFIX + "b": Known("0-0"), PREFIX + "c": Known("1-1", retry=-1)}
    run_id = new_run(engine)

    def meanwhile() -> Iterator[Listed]:
        yield from listing(dict.fromkeys(finished, "1-1"))
        fill(engine, finished)

    found = plan.scan(engine, run_id, PREFIX, meanwhile(), ignore)
    assert found.planned == 3
    assert work_rows(engine).keys() == {PREFIX + "b", PREFIX + "c"}  # other bytes; to be tried again


def test_what_another_run_did_anew_since_the_scan_looked_at_it_has_not_vanished(engine: Engine) -> None:
    """The photo was away while this listing passed its place, and came back with another time of change."""
    fill(engine, {PREFIX + "back": Known("1-1"), PREFIX + "gone": Known("1-1"), PREFIX + "new": Known(None)})
    found = plan.scan(engine, new_run(engine), PREFIX, listing({}), ignore)
    with writing(engine) as connection:
        again = photos.c.uri.in_([PREFIX + "back", PREFIX + "new"])
        connection.execute(update(photos).where(again).values(change_token="2-2"))
    with pages_of(2):
        plan.mark_presence(engine, found)
    query = "SELECT uri FROM photos WHERE vanished_at IS NULL ORDER BY uri"
    assert rows(engine, query) == [(PREFIX + "back",), (PREFIX + "new",)]


def test_what_a_worker_holds_is_not_taken_from_it_by_a_scan(engine: Engine) -> None:
    tokens = {PREFIX + key: "1-1" for key in "ab"}
    older, younger = new_run(engine), new_run(engine)
    plan.scan(engine, older, PREFIX, listing(tokens), ignore)
    held = claim(engine, older, 1)
    plan.scan(engine, younger, PREFIX, listing(tokens), ignore)
    assert rows(engine, "SELECT uri, owner, claims FROM work ORDER BY uri") == [
        (PREFIX + "a", held.owner, 1),
        (PREFIX + "b", None, 0),
    ]
    assert [photo.uri for photo in claim(engine, younger, 10).photos] == [PREFIX + "b"]


@settings(deadline=None)
@given(
    prefix=st.text(st.sampled_from("ab/.0-"), max_size=3), uri=st.text(st.sampled_from("ab/.0-"), max_size=6)
)
def test_below_is_what_begins_with_the_prefix(below: Below, prefix: str, uri: str) -> None:
    prefix, uri = f"file:///{prefix}/", f"file:///{uri}"
    assert below(uri, prefix) == uri.startswith(prefix)
