"""One shard's results: what they count, what they leave of the past, and that they are written whole."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text, update

from fashion_clip.errors import CatalogError
from tasks.catalog import ledger, plan, tables
from tasks.catalog.commit import Counts, ShardResult, commit_shard, known_contents
from tasks.catalog.engine import reading, writing
from tasks.catalog.ledger import Claimed
from tasks.catalog.models import LabelSet
from tasks.catalog.outcome import Outcome
from tasks.catalog.runs import record_listing, recorded, summary
from tasks.sources import Listed
from tests.catalogue_fixtures import contents_of, new_run, passing_catalogue, postgres_catalogue, rows
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import FaultProxy
from tests.tasks.catalog.databases import COMMIT, ON_POSTGRESQL, Passing, allow_again, refuse
from tests.tasks.catalog.made_results import (
    DEMO,
    begun,
    broken,
    claim_of,
    digest,
    end_leases,
    result,
    shows,
    top,
    unread,
    vector,
)

PREFIX = "file:///photos/"
A, B, C = (PREFIX + name for name in ("a.jpg", "b.jpg", "c.jpg"))


@pytest.fixture
def label_set(engine: Engine) -> LabelSet:
    return begun(engine)


def commit(
    engine: Engine, label_set: LabelSet, outcomes: Iterable[Outcome], contents: Iterable[str] = ()
) -> Counts:
    """Plans the photos in a run of its own, claims them, and commits what became of them."""
    outcomes, run_id = list(outcomes), new_run(engine)
    claim = claim_of(engine, run_id, [outcome.uri for outcome in outcomes])
    return commit_shard(engine, run_id, claim, label_set, result(outcomes, contents))


def shown(engine: Engine) -> set[tuple[str, str]]:
    """The (uri, sha256) that catalog_labels has labels for."""
    return {(uri, sha256) for uri, sha256 in rows(engine, "SELECT uri, sha256 FROM catalog_labels")}


def photo(engine: Engine, uri: str) -> dict[str, Any]:
    columns = ("product_id", "change_token", "content_id", "shard_id", "vanished_at")
    [row] = rows(engine, f"SELECT {', '.join(columns)} FROM photos WHERE uri = :uri", uri=uri)
    return dict(zip(columns, row, strict=True))


def test_a_photo_is_taken_off_the_work_embedded_and_labelled(engine: Engine, label_set: LabelSet) -> None:
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [A, B])
    counts = commit_shard(engine, run_id, claim, label_set, result([shows(A, "shoe")], ["shoe"]))
    assert counts == Counts(embedded=1, tagged=1, quarantined=0)
    assert rows(engine, "SELECT uri FROM work") == [(B,)]
    assert shown(engine) == {(A, digest("shoe"))}
    with reading(engine) as connection:
        stored = connection.execute(select(tables.embeddings.c.vector)).scalar_one()
    assert stored.tobytes() == vector("shoe").astype("<f2").tobytes()
    best = top(["shoe"])
    for attribute, label, similarity, confidence in rows(
        engine, "SELECT attribute, label, similarity, confidence FROM catalog_labels"
    ):
        [names] = [a.labels for a in DEMO.attributes if a.name == attribute]
        assert label == names[best[attribute].index[0, 0]].name
        assert abs(similarity - best[attribute].similarity[0, 0]) <= 0.000_050_1
        assert abs(confidence - best[attribute].confidence[0, 0]) <= 0.000_050_1
    written = "SELECT run_id, claim, embedded, tagged, quarantined, newly_quarantined FROM shards"
    assert rows(engine, written) == [(run_id, claim.owner, 1, 1, 0, 0)]


def test_two_photos_of_the_same_bytes_share_one_embedding_and_one_set_of_labels(
    engine: Engine, label_set: LabelSet
) -> None:
    counts = commit(engine, label_set, [shows(A, "shoe"), shows(B, "shoe")], ["shoe"])
    assert counts == Counts(embedded=1, tagged=2, quarantined=0)
    again = commit(engine, label_set, [shows(C, "shoe")])
    assert again == Counts(embedded=0, tagged=1, quarantined=0)
    assert rows(engine, "SELECT COUNT(*) FROM embeddings") == [(1,)]
    assert rows(engine, "SELECT COUNT(*) FROM labels") == [(len(DEMO.attributes),)]
    assert shown(engine) == {(uri, digest("shoe")) for uri in (A, B, C)}


def test_a_content_that_two_shards_embedded_at_once_is_counted_and_labelled_once(
    engine: Engine, label_set: LabelSet
) -> None:
    commit(engine, label_set, [shows(A, "shoe")], ["shoe"])
    before = rows(engine, "SELECT * FROM labels")
    assert commit(engine, label_set, [shows(B, "shoe")], ["shoe"]) == Counts(0, 1, 0)
    assert rows(engine, "SELECT * FROM labels") == before


def test_each_photo_is_said_to_be_tagged_when_it_was(engine: Engine, label_set: LabelSet) -> None:
    commit(engine, label_set, [shows(A, "shoe")], ["shoe"])
    commit(engine, label_set, [shows(B, "shoe")])
    runs_of = dict(rows(engine, "SELECT DISTINCT uri, run_id FROM catalog_labels"))
    assert runs_of == {A: 1, B: 2}


def test_a_touched_photo_is_not_tagged_again(engine: Engine, label_set: LabelSet) -> None:
    commit(engine, label_set, [shows(A, "shoe", "t1")], ["shoe"])
    before = photo(engine, A)
    assert commit(engine, label_set, [shows(A, "shoe", "t2")]) == Counts(0, 0, 0)
    assert photo(engine, A) == before | {"change_token": "t2"}
    assert rows(engine, "SELECT * FROM photo_past_contents") == []


def test_changed_bytes_keep_their_past_in_the_history(engine: Engine, label_set: LabelSet) -> None:
    commit(engine, label_set, [shows(A, "shoe", "t1")], ["shoe"])
    assert commit(engine, label_set, [shows(A, "shirt", "t2")], ["shirt"]) == Counts(1, 1, 0)
    assert commit(engine, label_set, [shows(A, "shoe", "t3")]) == Counts(0, 1, 0)
    assert shown(engine) == {(A, digest("shoe"))}
    history = rows(
        engine,
        "SELECT sha256, served_from, served_to, run_id FROM label_history"
        " WHERE attribute = 'category' ORDER BY served_from",
    )
    assert [row[0] for row in history] == [digest("shoe"), digest("shirt"), digest("shoe")]
    assert [row[3] for row in history] == [1, 2, 3]
    moments = [moment for _, served_from, served_to, _ in history for moment in (served_from, served_to)]
    assert moments[-1] is None
    assert moments[:-1] == sorted(moments[:-1])
    assert moments[1] == moments[2]
    assert moments[3] == moments[4]
    assert rows(engine, "SELECT COUNT(*) FROM label_history") == [(3 * len(DEMO.attributes),)]


def test_broken_new_bytes_take_the_old_labels_away(engine: Engine, label_set: LabelSet) -> None:
    commit(engine, label_set, [shows(A, "shoe", "t1")], ["shoe"])
    assert commit(engine, label_set, [broken(A, "t2", "truncated")]) == Counts(0, 0, 1, 1)
    assert shown(engine) == set()
    assert photo(engine, A)["content_id"] is None
    assert photo(engine, A)["change_token"] == "t2"  # these bytes are not tried again
    [(reason, served_to)] = rows(
        engine,
        "SELECT DISTINCT q.reason, h.served_to FROM label_history h"
        " JOIN quarantined_images q ON q.uri = h.uri",
    )
    assert reason == "truncated"
    assert served_to is not None


def test_a_photo_that_could_not_be_read_keeps_its_labels_and_is_tried_again(
    engine: Engine, label_set: LabelSet
) -> None:
    commit(engine, label_set, [shows(A, "shoe", "t1")], ["shoe"])
    before = photo(engine, A)
    assert commit(engine, label_set, [unread(A, "t2"), unread(B)]) == Counts(0, 0, 2, 2)
    assert shown(engine) == {(A, digest("shoe"))}
    assert photo(engine, A) == before | {"change_token": "t2"}
    assert photo(engine, B)["content_id"] is None
    assert rows(engine, "SELECT served_to FROM label_history WHERE attribute = 'category'") == [(None,)]
    again = new_run(engine)
    found = plan.scan(engine, again, PREFIX, iter([Listed(A, "t2"), Listed(B, "t1")]), lambda _: None)
    assert found.planned == 2
    claim = ledger.claim(engine, again, 1)
    shard = result([shows(A, "shoe", "t2")])
    assert commit_shard(engine, again, claim, label_set, shard) == Counts(0, 0, 0)
    assert photo(engine, A) == before | {"change_token": "t2"}
    assert rows(engine, "SELECT uri FROM quarantined_images") == [(B,)]


def test_a_photo_that_came_back_changed_is_shown_again(engine: Engine, label_set: LabelSet) -> None:
    commit(engine, label_set, [shows(A, "shoe", "t1")], ["shoe"])
    found = plan.scan(engine, new_run(engine), PREFIX, iter([]), lambda _: None)
    plan.mark_presence(engine, found)
    assert shown(engine) == set()
    commit(engine, label_set, [shows(A, "shirt", "t2")], ["shirt"])
    assert shown(engine) == {(A, digest("shirt"))}


def test_what_another_run_took_is_not_counted_twice(engine: Engine, label_set: LabelSet) -> None:
    run_id, other = new_run(engine), new_run(engine)
    ours, theirs = claim_of(engine, run_id, [A, B]), claim_of(engine, other, [C])
    both = result([shows(A, "shoe"), broken(B)], ["shoe"])
    assert commit_shard(engine, run_id, ours, label_set, both) == Counts(1, 1, 1, 1)
    before = contents_of(engine)
    late = result([shows(A, "shoe", "t9"), broken(B), shows(C, "hat")], ["shoe", "hat"])
    assert commit_shard(engine, other, theirs, label_set, late) == Counts(1, 1, 0)
    assert photo(engine, A)["change_token"] == "t1"
    assert rows(engine, "SELECT uri, attempts FROM quarantined_images") == [(B, 1)]
    assert before["quarantine"] == contents_of(engine)["quarantine"]
    totals = rows(engine, "SELECT SUM(tagged), SUM(quarantined), SUM(embedded) FROM run_history")
    assert totals == [(2, 1, 2)]


WRITTEN = (
    "contents",
    "embeddings",
    "shards",
    "labels",
    "photos",
    "photo_past_contents",
    "quarantine",
    "work",
)


@pytest.mark.parametrize("table", WRITTEN)
def test_a_shard_is_written_whole_or_not_at_all(engine: Engine, label_set: LabelSet, table: str) -> None:
    commit(engine, label_set, [shows(A, "shoe")], ["shoe"])
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [A, B, C])
    refuse(engine, "DELETE" if table == "work" else "INSERT", table)
    before = contents_of(engine)
    shard = result([shows(A, "hat", "t2"), shows(B, "shirt"), broken(C)], ["hat", "shirt"])
    with pytest.raises(CatalogError, match="refused"):
        commit_shard(engine, run_id, claim, label_set, shard)
    assert contents_of(engine) == before
    allow_again(engine, table)
    assert commit_shard(engine, run_id, claim, label_set, shard) == Counts(2, 2, 1, 1)


def test_a_refusal_of_the_database_is_told_as_such(engine: Engine, label_set: LabelSet) -> None:
    claim = claim_of(engine, new_run(engine), [A])
    with pytest.raises(CatalogError, match=r"(?i)foreign key"):
        commit_shard(engine, 999, claim, label_set, result([shows(A, "shoe")], ["shoe"]))
    assert rows(engine, "SELECT uri FROM work") == [(A,)]


def test_a_missing_table_leaves_nothing_behind(engine: Engine, label_set: LabelSet) -> None:
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [A])
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE quarantine RENAME TO elsewhere"))
    with pytest.raises(CatalogError, match=r"no such table|does not exist"):
        commit_shard(engine, run_id, claim, label_set, result([shows(A, "shoe")], ["shoe"]))
    assert rows(engine, "SELECT uri FROM work") == [(A,)]
    assert rows(engine, "SELECT * FROM contents") == []


def test_known_contents_tells_what_there_is_of_each(engine: Engine, label_set: LabelSet) -> None:
    commit(engine, label_set, [shows(A, "shoe")], ["shoe"])
    commit(engine, label_set, [shows(B, "bare")])  # bound, and neither embedded nor labelled
    found = known_contents(engine, label_set, [digest(name) for name in ("shoe", "bare", "unmet")])
    assert found.keys() == {digest("shoe"), digest("bare")}
    known, bare = found[digest("shoe")], found[digest("bare")]
    assert known.vector is not None
    assert known.vector.dtype == np.float16
    assert np.array_equal(known.vector, vector("shoe"))
    assert known.labelled
    assert (bare.vector, bare.labelled) == (None, False)
    # Another encoder's vectors and another set's labels do not count.
    other = known_contents(engine, replace(label_set, encoder_id=99, label_set_id=99), [digest("shoe")])
    assert other[digest("shoe")].vector is None
    assert not other[digest("shoe")].labelled


def typed(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table by its key, points in time and what is drawn at random left out."""
    drawn = {"claim", "owner"}
    found = {}
    with reading(engine) as connection:
        for name, table in tables.metadata.tables.items():
            columns = [
                column
                for column in table.columns
                if not isinstance(column.type, tables.UtcDateTime) and column.name not in drawn
            ]
            query = select(*columns).order_by(*table.primary_key.columns)
            found[name] = [
                tuple(value.tobytes() if isinstance(value, np.ndarray) else value for value in row)
                for row in connection.execute(query)
            ]
    return found


def test_a_shard_leaves_the_same_rows_in_both_databases(
    empty_catalogue: Path, postgres_server: PostgresServer
) -> None:
    uris = [f"{PREFIX}{number:03}" for number in range(256)]
    words = [f"content {number % 200}" for number in range(256)]  # the last 56 photos are duplicates
    outcomes = [
        broken(uri) if number % 37 == 0 else shows(uri, word)
        for number, (uri, word) in enumerate(zip(uris, words, strict=True))
    ]
    met = {outcome.sha256 for outcome in outcomes}
    contents = [word for word in dict.fromkeys(words) if digest(word) in met]
    left = []
    with passing_catalogue(empty_catalogue) as sqlite, postgres_catalogue(postgres_server) as postgresql:
        for engine in (sqlite, postgresql):
            label_set = begun(engine)
            counts = commit(engine, label_set, outcomes, contents)
            assert counts == Counts(len(contents), 256 - 7, 7, 7)
            left.append(typed(engine))
    assert left[0] == left[1]
    assert len(left[0]["labels"]) == len(contents) * len(DEMO.attributes)
    assert len(left[0]["photos"]) == 256


# Connections that break at the commit ---------------------------------------------------------------------


FAULTS = {
    "at the first statement": "cut:1:1",
    "in the middle": "rst-before:COPY:1",
    "after the labels": "rst-after:INSERT INTO labels:1",
    "before the commit": f"rst-before:{COMMIT}:1",
    "after the commit": f"rst-after:{COMMIT}:1",
}


@ON_POSTGRESQL
@pytest.mark.parametrize("fault", FAULTS)
def test_a_commit_over_a_connection_that_breaks_is_written_once(
    engine: Engine, far: Engine, proxy: FaultProxy, label_set: LabelSet, fault: str
) -> None:
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [A, B, C])
    rows(far, "SELECT 1")  # it is connected
    proxy.mode = FAULTS[fault]
    shard = result([shows(A, "shoe"), shows(B, "hat"), broken(C)], ["shoe", "hat"])
    assert commit_shard(far, run_id, claim, label_set, shard) == Counts(2, 2, 1, 1)
    assert proxy.struck == 1
    written = "SELECT claim, embedded, tagged, quarantined, newly_quarantined FROM shards"
    assert rows(engine, written) == [(claim.owner, 2, 2, 1, 1)]
    assert rows(engine, "SELECT uri, attempts FROM quarantined_images") == [(C, 1)]
    assert shown(engine) == {(A, digest("shoe")), (B, digest("hat"))}
    assert rows(engine, "SELECT COUNT(*) FROM labels") == [(2 * len(DEMO.attributes),)]
    assert rows(engine, "SELECT COUNT(*) FROM photos") == [(3,)]
    assert rows(engine, "SELECT * FROM work") == []


def test_a_commit_that_is_repeated_says_the_same_and_writes_nothing(
    engine: Engine, label_set: LabelSet
) -> None:
    commit(engine, label_set, [shows(A, "shoe")], ["shoe"])
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [A, B, C])
    shard = result([shows(A, "hat", "t2"), shows(B, "hat"), broken(C)], ["hat"])
    assert commit_shard(engine, run_id, claim, label_set, shard) == Counts(1, 2, 1, 1)
    before = contents_of(engine)
    assert commit_shard(engine, run_id, claim, label_set, shard) == Counts(1, 2, 1, 1)
    assert contents_of(engine) == before


# Nights over a few photos, against a catalogue in plain dicts ---------------------------------------------

NAMES = [PREFIX + name for name in ("a", "b-", "b/c", "b0")]


@dataclass(frozen=True)
class Shown:
    """What lies at a name in a night: its bytes, when they were touched, and whether they can be read."""

    bytes: str
    touched: int
    readable: bool

    @property
    def token(self) -> str:
        return f"{self.bytes}-{self.touched}"

    def outcome(self, photo: Claimed) -> Outcome:
        """As `tasks.tagging` would have it."""
        if photo.hopeless:
            return replace(unread(photo.uri, self.token), reason="worker_died")
        if not self.readable:
            return unread(photo.uri, self.token)
        if self.bytes == "noise":
            return broken(photo.uri, self.token)
        return shows(photo.uri, self.bytes, self.token)


@dataclass(frozen=True)
class Night:
    """A source, how many workers die over a claim, and how many photos a claim takes."""

    source: dict[str, Shown]
    deaths: int
    reach: int


PHOTOS = st.builds(Shown, st.sampled_from(["shoe", "hat", "noise"]), st.integers(1, 2), st.booleans())
NIGHTS = st.builds(
    Night, st.dictionaries(st.sampled_from(NAMES), PHOTOS), st.integers(0, 4), st.integers(1, 4)
)


@dataclass
class Model:
    """What the catalogue ought to hold.

    failed: photo -> how often, and in how many hours it is tried again, None for never.
    work: photo -> its change token and how often it was claimed, in the order of planning.
    """

    token: dict[str, str] = field(default_factory=dict)
    content: dict[str, str | None] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    failed: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    work: dict[str, tuple[str, int]] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)
    ever: set[tuple[str, str]] = field(default_factory=set)

    def scan(self, source: dict[str, Shown]) -> list[str]:
        self.present -= self.token.keys() - source.keys()
        to_do = [uri for uri in sorted(source) if self.token.get(uri) != source[uri].token or self.due(uri)]
        self.present |= source.keys() & self.token.keys() - set(to_do)
        self.work = {uri: planned for uri, planned in self.work.items() if uri in to_do}
        for uri in to_do:
            if uri not in self.work or self.work[uri][0] != source[uri].token:
                self.work[uri] = source[uri].token, 0
        return to_do

    def due(self, uri: str) -> bool:
        _, hours = self.failed.get(uri, (0, None))
        return hours is not None and hours <= 0

    def claim(self, size: int) -> list[Claimed]:
        """work_id and change_token are left out."""
        if not self.work:
            return []
        fewest = min(claims for _, claims in self.work.values())
        taken = [uri for uri, (_, claims) in self.work.items() if claims == fewest]
        taken = taken[: size if fewest < 2 else 1]
        for uri in taken:
            self.work[uri] = self.work[uri][0], fewest + 1
        return [Claimed(0, uri, "", hopeless=fewest >= 3) for uri in taken]

    def commit(self, outcomes: list[Outcome], source: dict[str, Shown]) -> Counts:
        embedded = tagged = quarantined = anew = 0
        for outcome in outcomes:
            uri = outcome.uri
            self.present.add(uri)
            del self.work[uri]
            if not outcome.reason:
                word = source[uri].bytes
                tagged += self.content.get(uri) != word
                embedded += word not in self.met
                self.met.add(word)
                self.content[uri] = word
                self.ever.add((uri, digest(word)))
                self.failed.pop(uri, None)
            else:
                quarantined += 1
                same = uri in self.failed and self.token[uri] == outcome.change_token
                attempts = self.failed[uri][0] + 1 if same else 1
                hours = {1: 0, 2: 18, 3: 42, 4: 90}.get(attempts) if outcome.reason == "unreadable" else None
                self.failed[uri] = attempts, hours
                anew += not same
                if not outcome.unread:
                    self.content[uri] = None
            self.token[uri] = outcome.change_token
        return Counts(embedded, tagged, quarantined, anew)

    def shown(self) -> set[tuple[str, str]]:
        return {(uri, digest(word)) for uri in self.present if (word := self.content.get(uri)) is not None}

    def a_day_passes(self) -> None:
        self.failed = {
            uri: (attempts, None if hours is None else hours - 24)
            for uri, (attempts, hours) in self.failed.items()
        }


@settings(max_examples=25, deadline=None)
@given(nights=st.lists(NIGHTS, min_size=1, max_size=6))
def test_nights_add_up_whatever_happens_to_the_photos(passing: Passing, nights: list[Night]) -> None:
    model = Model()
    with passing() as engine:
        label_set = begun(engine)
        for night in nights:
            one_night(engine, label_set, model, night)
            a_day_passes(engine)
            model.a_day_passes()


def one_night(engine: Engine, label_set: LabelSet, model: Model, night: Night) -> None:
    source = night.source
    with recorded(engine, "nightly-tagging", "asked for", None) as run_id:
        listing = [Listed(uri, source[uri].token) for uri in sorted(source)]
        found = plan.scan(engine, run_id, PREFIX, iter(listing), lambda _: None)
        plan.drop_unlisted_work(engine, run_id, PREFIX)
        plan.mark_presence(engine, found)
        record_listing(engine, run_id, PREFIX, found.listed, 0)
        to_do = model.scan(source)
        assert found.planned == len(to_do)
        for _ in range(night.deaths):
            dead = ledger.claim(engine, run_id, night.reach)
            assert said(dead.photos) == said(model.claim(night.reach))
            end_leases(engine, dead)
        claim = ledger.claim(engine, run_id, night.reach)
        assert said(claim.photos) == said(model.claim(night.reach))
        outcomes = [source[photo.uri].outcome(photo) for photo in claim.photos]
        shard = fresh_only(engine, label_set, outcomes, source)
        expected = model.commit(outcomes, source)
        assert commit_shard(engine, run_id, claim, label_set, shard) == expected

    run = summary(engine, run_id)
    assert (run.listed, run.remaining) == (len(source), len(to_do) - len(outcomes))
    assert (run.embedded, run.tagged, run.quarantined) == (
        expected.embedded,
        expected.tagged,
        expected.quarantined,
    )
    assert run.known is not None
    assert run.remaining is not None
    assert run.known >= 0
    assert run.listed == run.known + run.tagged + run.quarantined + run.remaining
    assert shown(engine) == model.shown()
    ever = {(uri, sha256) for uri, sha256 in rows(engine, "SELECT uri, sha256 FROM label_history")}
    assert ever == model.ever
    quarantined = dict(rows(engine, "SELECT uri, attempts FROM quarantined_images"))
    assert quarantined == {uri: n for uri, (n, _) in model.failed.items() if uri in model.present}
    [(inside_out,)] = rows(engine, "SELECT COUNT(*) FROM label_history WHERE served_to < served_from")
    assert inside_out == 0


def said(photos: Iterable[Claimed]) -> list[tuple[str, bool]]:
    return [(photo.uri, photo.hopeless) for photo in photos]


def a_day_passes(engine: Engine) -> None:
    quarantine = tables.quarantine
    with writing(engine) as connection:
        due = connection.execute(select(quarantine.c.photo_id, quarantine.c.retry_at)).all()
        for photo_id, at in due:
            earlier = None if at is None else at - timedelta(days=1)
            query = update(quarantine).where(quarantine.c.photo_id == photo_id)
            connection.execute(query.values(retry_at=earlier))


def fresh_only(
    engine: Engine, label_set: LabelSet, outcomes: list[Outcome], source: dict[str, Shown]
) -> ShardResult:
    """As `tagging` does: only contents that the catalogue lacks go through the tower."""
    words = {source[outcome.uri].bytes for outcome in outcomes if not outcome.reason}
    known = known_contents(engine, label_set, {digest(word) for word in words})
    return result(outcomes, sorted(word for word in words if digest(word) not in known))
