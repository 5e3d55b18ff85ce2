"""A listing merged with the catalogue, against the same in plain sets; and the list of work."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, Text, create_engine, delete, insert, literal, select

from fashion_clip.errors import SourceError
from tasks.catalog import plan
from tasks.catalog.engine import reading, writing
from tasks.catalog.tables import photos, shards, work
from tasks.sources import Listed
from tests.catalogue_fixtures import contents_of, new_run, passing_catalogue, rows

PREFIX = "file:///photos/"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

KEYS = st.sampled_from(
    ["a", "a-b", "a.jpg", "a%2Fb", "a/x", "a/", "a0", "b", "B", "%FF", "~", "z/z/z", "-", "_"]
)
TOKENS = st.sampled_from(["1-1", "2-2"])
KNOWN = st.dictionaries(KEYS, st.tuples(st.one_of(st.none(), TOKENS), st.booleans()))
LISTINGS = st.dictionaries(KEYS, TOKENS)
# Beside the source, before and after it in byte order: none of them is its business.
ELSEWHERE = (
    "file:///photos",
    "file:///photos-2/a",
    "file:///photos.jpg",
    "file:///photos0",
    "file:///PHOTOS/a",
)


@contextmanager
def pages_of(size: int) -> Iterator[None]:
    before, plan.PAGE = plan.PAGE, size
    try:
        yield
    finally:
        plan.PAGE = before


def fill(engine: Engine, known: Mapping[str, tuple[str | None, bool]]) -> dict[str, int]:
    """Puts photos into the catalogue; returns their ids by URI."""
    run_id = new_run(engine)
    with writing(engine) as connection:
        shard = {"run_id": run_id, "committed_at": LONG_AGO, "embedded": 0, "tagged": 0, "quarantined": 0}
        shard_id = connection.execute(insert(shards).returning(shards.c.shard_id), shard).scalar_one()
        for uri, (token, vanished) in known.items():
            row = {"uri": uri, "product_id": "p", "change_token": token, "shard_id": shard_id}
            connection.execute(insert(photos), row | {"vanished_at": LONG_AGO if vanished else None})
    return dict(rows(engine, "SELECT uri, photo_id FROM photos"))


def listing(tokens: dict[str, str]) -> Iterator[Listed]:
    return iter([Listed(uri, tokens[uri]) for uri in sorted(tokens)])


def ignore(_: int) -> None:
    """Where nobody watches how far a listing is."""


def work_rows(engine: Engine) -> dict[str, tuple[int, int]]:
    """URI -> work_id, run_id."""
    return {uri: (w, r) for uri, w, r in rows(engine, "SELECT uri, work_id, run_id FROM work")}


@settings(max_examples=60, deadline=None)
@given(
    known=KNOWN,
    listed=LISTINGS,
    left_over=st.sets(KEYS),
    page=st.sampled_from([1, 2, 3, plan.PAGE]),
)
def test_a_scan_finds_what_sets_find(
    empty_catalogue: Path,
    known: dict[str, tuple[str | None, bool]],
    listed: dict[str, str],
    left_over: set[str],
    page: int,
) -> None:
    known = {PREFIX + key: state for key, state in known.items()}
    listed = {PREFIX + key: token for key, token in listed.items()}
    left_over = {PREFIX + key for key in left_over}
    with passing_catalogue(empty_catalogue) as engine, pages_of(page):
        ids = fill(engine, known | dict.fromkeys(ELSEWHERE, ("0-0", False)))
        earlier = new_run(engine)
        with writing(engine) as connection:
            left = [{"uri": uri, "run_id": earlier} for uri in (*sorted(left_over), *ELSEWHERE)]
            connection.execute(insert(work), left)
        before = work_rows(engine)
        run_id = new_run(engine)

        found = plan.scan(engine, run_id, PREFIX, listing(listed), ignore)

        present = {uri for uri, (_, vanished) in known.items() if not vanished}
        to_do = {uri for uri, token in listed.items() if known.get(uri, (None, False))[0] != token}
        unchanged = listed.keys() - to_do
        assert found.listed == len(listed)
        assert found.planned == len(to_do)
        assert found.present == len(present)
        assert sorted(found.vanished) == sorted(ids[uri] for uri in present - listed.keys())
        assert sorted(found.returned) == sorted(ids[uri] for uri in unchanged if known[uri][1])

        after = work_rows(engine)
        assert after.keys() == to_do | set(ELSEWHERE)
        for uri in ELSEWHERE:
            assert after[uri] == before[uri]
        for uri in to_do:
            assert after[uri][1] == run_id
            assert uri not in before or after[uri][0] == before[uri][0]

        plan.mark_presence(engine, found)
        shown = {uri: at is None for uri, at in rows(engine, "SELECT uri, vanished_at FROM photos")}
        assert {uri for uri in known if shown[uri]} == (present & listed.keys()) | {
            uri for uri in unchanged if known[uri][1]
        }
        assert all(shown[uri] for uri in ELSEWHERE)


def test_more_photos_than_a_page_holds(engine: Engine) -> None:
    many = {f"{PREFIX}{number:06}.jpg": "1-1" for number in range(2 * plan.PAGE + 1)}
    told: list[int] = []
    first = plan.scan(engine, new_run(engine), PREFIX, listing(many), told.append)
    assert (first.listed, first.planned, first.present) == (10_001, 10_001, 0)
    assert told == [5_000, 10_000, 10_001]
    ids = fill(engine, {uri: (token, False) for uri, token in many.items()})
    gone = f"{PREFIX}{plan.PAGE - 1:06}.jpg"  # the last of a page
    second = plan.scan(engine, new_run(engine), PREFIX, listing(many | {gone: "2-2"}), ignore)
    assert (second.listed, second.planned, second.present, len(second.vanished)) == (10_001, 1, 10_001, 0)
    del many[gone]
    third_run = new_run(engine)
    third = plan.scan(engine, third_run, PREFIX, listing(many), ignore)
    assert (third.planned, list(third.vanished)) == (0, [ids[gone]])
    with reading(engine) as connection:
        assert plan.remaining(connection, third_run) == 0


def test_a_scan_that_finds_nothing_writes_nothing(engine: Engine) -> None:
    fill(engine, {PREFIX + key: ("1-1", False) for key in "abc"} | {"file:///other/a": ("1-1", False)})
    run_id = new_run(engine)
    before = contents_of(engine)
    watcher = sqlite3.connect(str(engine.url.database))
    version = watcher.execute("PRAGMA data_version").fetchone()
    found = plan.scan(engine, run_id, PREFIX, listing({PREFIX + key: "1-1" for key in "abc"}), ignore)
    assert watcher.execute("PRAGMA data_version").fetchone() == version
    watcher.close()
    assert (found.planned, len(found.vanished), len(found.returned)) == (0, 0, 0)
    assert contents_of(engine) == before


def test_what_is_planned_twice_is_planned_once(engine: Engine) -> None:
    tokens = {PREFIX + key: "1-1" for key in "abc"}
    plan.scan(engine, new_run(engine), PREFIX, listing(tokens), ignore)
    before = work_rows(engine)
    later = new_run(engine)
    found = plan.scan(engine, later, PREFIX, listing(tokens), ignore)
    assert found.planned == 3
    assert work_rows(engine) == {uri: (work_id, later) for uri, (work_id, _) in before.items()}


def test_a_listing_that_breaks_off_keeps_what_it_planned_and_drops_nothing(engine: Engine) -> None:
    fill(engine, {PREFIX + "z": ("1-1", False)})
    earlier = new_run(engine)
    with writing(engine) as connection:
        connection.execute(insert(work), {"uri": PREFIX + "y", "run_id": earlier})

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


@settings(max_examples=30, deadline=None)
@given(owners=st.lists(st.booleans(), max_size=12), size=st.integers(1, 5))
def test_shards_cover_the_work_of_a_run_once(empty_catalogue: Path, owners: list[bool], size: int) -> None:
    uris = [f"{PREFIX}{number:02}" for number in range(len(owners))]
    with passing_catalogue(empty_catalogue) as engine:
        run_id, other = new_run(engine), new_run(engine)
        with writing(engine) as connection:
            for uri, own in zip(uris, owners, strict=True):
                connection.execute(insert(work), {"uri": uri, "run_id": run_id if own else other})
        ours = [uri for uri, own in zip(uris, owners, strict=True) if own]
        with reading(engine) as connection:
            assert plan.remaining(connection, run_id) == len(ours)
        parts = []
        for first, last in plan.shards(engine, run_id, size):
            parts.append(plan.planned(engine, run_id, first, last))
            with writing(engine) as connection:  # a shard is done while the next are being cut
                connection.execute(delete(work).where(work.c.uri.in_(parts[-1])))
        assert [uri for part in parts for uri in part] == ours
        assert all(len(part) == size for part in parts[:-1])
        assert all(0 < len(part) <= size for part in parts)


def test_what_another_run_finished_is_planned_no_more(engine: Engine) -> None:
    run_id = new_run(engine)
    with writing(engine) as connection:
        connection.execute(insert(work), [{"uri": PREFIX + key, "run_id": run_id} for key in "abc"])
    [(first, last)] = plan.shards(engine, run_id, 10)
    with writing(engine) as connection:
        connection.execute(delete(work).where(work.c.uri == PREFIX + "b"))
    assert plan.planned(engine, run_id, first, last) == [PREFIX + "a", PREFIX + "c"]


@settings(deadline=None)
@given(st.text(st.sampled_from("ab/.0-"), max_size=3), st.text(st.sampled_from("ab/.0-"), max_size=6))
def test_below_is_what_begins_with_the_prefix(prefix: str, uri: str) -> None:
    prefix, uri = f"file:///{prefix}/", f"file:///{uri}"
    with create_engine("sqlite://").connect() as connection:
        found = connection.execute(select(plan.below(literal(uri, Text), prefix))).scalar_one()
    assert bool(found) == uri.startswith(prefix)
