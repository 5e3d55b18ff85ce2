"""One shard's results: what they count, what they leave of the past, and that they are written whole."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from fashion_clip.errors import CatalogError
from fashion_clip.scoring import TopLabels
from tasks.catalog import plan
from tasks.catalog.commit import Counts, Outcome, ShardResult, commit_shard, known_contents, pack
from tasks.catalog.engine import writing
from tasks.catalog.models import LabelSet
from tasks.catalog.runs import record_listing, recorded, summary
from tasks.catalog.tables import CANDIDATES, SCORE_SCALE
from tasks.sources import Listed
from tests.catalogue_fixtures import contents_of, new_run, passing_catalogue, rows
from tests.tasks.catalog.made_results import (
    DEMO,
    begun,
    broken,
    digest,
    put_to_work,
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
    """Plans the photos in a run of its own and commits what became of them."""
    outcomes, run_id = list(outcomes), new_run(engine)
    put_to_work(engine, run_id, [outcome.uri for outcome in outcomes])
    return commit_shard(engine, run_id, label_set, result(outcomes, contents))


def shown(engine: Engine) -> set[tuple[str, str]]:
    """The (uri, sha256) that catalog_labels has labels for."""
    return {(uri, sha256) for uri, sha256 in rows(engine, "SELECT uri, sha256 FROM catalog_labels")}


def photo(engine: Engine, uri: str) -> dict[str, Any]:
    columns = ("product_id", "change_token", "content_id", "shard_id", "vanished_at")
    [row] = rows(engine, f"SELECT {', '.join(columns)} FROM photos WHERE uri = :uri", uri=uri)
    return dict(zip(columns, row, strict=True))


def test_a_photo_is_taken_off_the_work_embedded_and_labelled(engine: Engine, label_set: LabelSet) -> None:
    run_id = new_run(engine)
    put_to_work(engine, run_id, [A, B])
    counts = commit_shard(engine, run_id, label_set, result([shows(A, "shoe")], ["shoe"]))
    assert counts == Counts(embedded=1, tagged=1, quarantined=0)
    assert rows(engine, "SELECT uri FROM work") == [(B,)]
    assert shown(engine) == {(A, digest("shoe"))}
    [(stored,)] = rows(engine, "SELECT vector FROM embeddings")
    assert stored == vector("shoe").astype("<f2").tobytes()
    best = top(["shoe"])
    for attribute, label, similarity, confidence in rows(
        engine, "SELECT attribute, label, similarity, confidence FROM catalog_labels"
    ):
        [names] = [a.labels for a in DEMO.attributes if a.name == attribute]
        assert label == names[best[attribute].index[0, 0]].name
        assert abs(similarity - best[attribute].similarity[0, 0]) <= 0.000_050_1
        assert abs(confidence - best[attribute].confidence[0, 0]) <= 0.000_050_1
    assert rows(engine, "SELECT run_id, embedded, tagged, quarantined FROM shards") == [(run_id, 1, 1, 0)]


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
    assert commit(engine, label_set, [broken(A, "t2", "truncated")]) == Counts(0, 0, 1)
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
    assert commit(engine, label_set, [unread(A), unread(B)]) == Counts(0, 0, 2)
    assert shown(engine) == {(A, digest("shoe"))}
    assert photo(engine, A) == before | {"change_token": None}
    assert photo(engine, B)["content_id"] is None
    assert rows(engine, "SELECT served_to FROM label_history WHERE attribute = 'category'") == [(None,)]
    again = new_run(engine)
    found = plan.scan(engine, again, PREFIX, iter([Listed(A, "t1"), Listed(B, "t1")]), lambda _: None)
    assert found.planned == 2
    assert commit_shard(engine, again, label_set, result([shows(A, "shoe", "t1")])) == Counts(0, 0, 0)
    assert photo(engine, A) == before


def test_attempts_are_counted_and_a_cured_photo_leaves_quarantine(
    engine: Engine, label_set: LabelSet
) -> None:
    commit(engine, label_set, [broken(A), broken(B)])
    [first] = rows(engine, "SELECT * FROM quarantined_images WHERE uri = :uri", uri=A)
    commit(engine, label_set, [broken(A, "t2", "truncated")])
    commit(engine, label_set, [unread(A)])
    [last] = rows(engine, "SELECT * FROM quarantined_images WHERE uri = :uri", uri=A)
    uri, reason, _, attempts, first_failed_at, last_failed_at = last
    assert (uri, reason, attempts, first_failed_at) == (A, "unreadable", 3, first[4])
    assert last_failed_at > first[5]
    assert commit(engine, label_set, [shows(A, "shoe", "t3")], ["shoe"]) == Counts(1, 1, 0)
    assert rows(engine, "SELECT uri, attempts FROM quarantined_images") == [(B, 1)]


def test_a_photo_that_came_back_changed_is_shown_again(engine: Engine, label_set: LabelSet) -> None:
    commit(engine, label_set, [shows(A, "shoe", "t1")], ["shoe"])
    found = plan.scan(engine, new_run(engine), PREFIX, iter([]), lambda _: None)
    plan.mark_presence(engine, found)
    assert shown(engine) == set()
    commit(engine, label_set, [shows(A, "shirt", "t2")], ["shirt"])
    assert shown(engine) == {(A, digest("shirt"))}


def test_what_another_run_took_is_not_counted_twice(engine: Engine, label_set: LabelSet) -> None:
    run_id, other = new_run(engine), new_run(engine)
    put_to_work(engine, run_id, [A, B])
    put_to_work(engine, other, [C])
    both = result([shows(A, "shoe"), broken(B)], ["shoe"])
    assert commit_shard(engine, run_id, label_set, both) == Counts(1, 1, 1)
    before = contents_of(engine)
    late = result([shows(A, "shoe", "t9"), broken(B), shows(C, "hat")], ["shoe", "hat"])
    assert commit_shard(engine, other, label_set, late) == Counts(1, 1, 0)
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
    put_to_work(engine, run_id, [A, B, C])
    event = "DELETE" if table == "work" else "INSERT"
    with writing(engine) as connection:
        connection.execute(
            text(f"CREATE TRIGGER refuse BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END")
        )
    before = contents_of(engine)
    shard = result([shows(A, "hat", "t2"), shows(B, "shirt"), broken(C)], ["hat", "shirt"])
    with pytest.raises((CatalogError, SQLAlchemyError), match="refused"):
        commit_shard(engine, run_id, label_set, shard)
    assert contents_of(engine) == before
    with writing(engine) as connection:
        connection.execute(text("DROP TRIGGER refuse"))
    assert commit_shard(engine, run_id, label_set, shard) == Counts(2, 2, 1)


def test_a_refusal_of_the_database_is_told_as_such(engine: Engine, label_set: LabelSet) -> None:
    run_id = new_run(engine)
    put_to_work(engine, run_id, [A])
    with pytest.raises(CatalogError, match="FOREIGN KEY"):
        commit_shard(engine, 999, label_set, result([shows(A, "shoe")], ["shoe"]))
    assert rows(engine, "SELECT uri FROM work") == [(A,)]


def test_a_missing_table_leaves_nothing_behind(engine: Engine, label_set: LabelSet) -> None:
    run_id = new_run(engine)
    put_to_work(engine, run_id, [A])
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE quarantine RENAME TO elsewhere"))
    with pytest.raises(CatalogError, match="no such table"):
        commit_shard(engine, run_id, label_set, result([shows(A, "shoe")], ["shoe"]))
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


@st.composite
def scores(draw: st.DrawFn) -> TopLabels:
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, CANDIDATES)))
    index = draw(arrays.arrays(np.int32, shape, elements=st.integers(0, 9)))
    similarity = draw(arrays.arrays(np.float32, shape, elements=st.floats(-1, 1, width=32)))
    confidence = draw(arrays.arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    return TopLabels(index, similarity, confidence)


@settings(deadline=None)
@given(scores())
def test_scores_are_packed_by_rank_in_units_of_a_ten_thousandth(best: TopLabels) -> None:
    label_ids = tuple(range(100, 110))
    packed = pack(best, label_ids)
    count, given_labels = best.index.shape
    assert len(packed) == count
    for i, row in enumerate(packed):
        assert len(row) == 3 * CANDIDATES
        for rank in range(1, CANDIDATES + 1):
            values = row[3 * (rank - 1) : 3 * rank]
            if rank > given_labels:
                assert values == [None, None, None]
                continue
            label, similarity, confidence = values
            assert None not in (label, similarity, confidence)
            assert label == label_ids[best.index[i, rank - 1]]
            assert isinstance(similarity, int)
            assert isinstance(confidence, int)
            assert 0 <= confidence <= SCORE_SCALE
            assert abs(similarity / SCORE_SCALE - best.similarity[i, rank - 1]) <= 0.000_051
            assert abs(confidence / SCORE_SCALE - best.confidence[i, rank - 1]) <= 0.000_051


# Nights over a few photos, against a catalogue in plain dicts -----------------------------------------------

NAMES = [PREFIX + name for name in ("a", "b-", "b/c", "b0")]
SHOWN = st.one_of(
    st.tuples(st.just("picture"), st.sampled_from(["shoe", "hat"])),
    st.tuples(st.sampled_from(["broken", "unread"]), st.just("")),
)
# What lies at each name in a night, and how many of the planned photos the night comes to.
NIGHT = st.tuples(
    st.dictionaries(st.sampled_from(NAMES), st.tuples(SHOWN, st.integers(1, 2))), st.integers(1, 4)
)


class Model:
    """What the catalogue ought to hold."""

    def __init__(self) -> None:
        self.token: dict[str, str | None] = {}
        self.content: dict[str, str | None] = {}
        self.present: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.met: set[str] = set()
        self.ever: set[tuple[str, str]] = set()

    def scan(self, listed: dict[str, str]) -> list[str]:
        self.present -= self.token.keys() - listed.keys()
        to_do = [uri for uri in sorted(listed) if uri not in self.token or self.token[uri] != listed[uri]]
        self.present |= listed.keys() - set(to_do)
        return to_do

    def commit(self, outcomes: list[Outcome], words: dict[str, str]) -> Counts:
        embedded = tagged = quarantined = 0
        for outcome in outcomes:
            uri, word = outcome.uri, words.get(outcome.uri)
            self.present.add(uri)
            if word is not None:
                tagged += self.content.get(uri) != word
                embedded += word not in self.met
                self.met.add(word)
                self.content[uri] = word
                self.ever.add((uri, digest(word)))
                self.attempts.pop(uri, None)
            else:
                quarantined += 1
                self.attempts[uri] = self.attempts.get(uri, 0) + 1
                if outcome.change_token is not None:
                    self.content[uri] = None
            self.token[uri] = outcome.change_token
        return Counts(embedded, tagged, quarantined)

    def shown(self) -> set[tuple[str, str]]:
        return {(uri, digest(word)) for uri in self.present if (word := self.content.get(uri)) is not None}


@settings(max_examples=40, deadline=None)
@given(st.lists(NIGHT, min_size=1, max_size=5))
def test_nights_add_up_whatever_happens_to_the_photos(
    empty_catalogue: Path, nights: list[tuple[dict[str, tuple[tuple[str, str], int]], int]]
) -> None:
    model = Model()
    with passing_catalogue(empty_catalogue) as engine:
        label_set = begun(engine)
        for source, reach in nights:
            one_night(engine, label_set, model, source, reach)


def one_night(
    engine: Engine,
    label_set: LabelSet,
    model: Model,
    source: dict[str, tuple[tuple[str, str], int]],
    reach: int,
) -> None:
    listed = {uri: f"{kind}-{word}-{touched}" for uri, ((kind, word), touched) in source.items()}
    with recorded(engine, "nightly-tagging", "asked for", None) as run_id:
        found = plan.scan(
            engine, run_id, PREFIX, iter([Listed(uri, listed[uri]) for uri in sorted(listed)]), lambda _: None
        )
        plan.mark_presence(engine, found)
        record_listing(engine, run_id, PREFIX, found.listed, 0)
        to_do = model.scan(listed)
        assert found.planned == len(to_do)
        ranges = list(plan.shards(engine, run_id, reach))
        done = plan.planned(engine, run_id, *ranges[0]) if ranges else []
        assert set(done) <= set(to_do)
        assert len(done) == min(reach, len(to_do))
        words = {uri: word for uri, ((kind, word), _) in source.items() if kind == "picture" and uri in done}
        outcomes = [an_outcome(uri, source[uri][0], listed[uri]) for uri in done]
        shard = fresh_only(engine, label_set, outcomes, words)
        expected = model.commit(outcomes, words)
        assert commit_shard(engine, run_id, label_set, shard) == expected

    run = summary(engine, run_id)
    assert (run.listed, run.remaining) == (len(listed), len(to_do) - len(done))
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
    assert quarantined == {uri: n for uri, n in model.attempts.items() if uri in model.present}
    [(inside_out,)] = rows(engine, "SELECT COUNT(*) FROM label_history WHERE served_to < served_from")
    assert inside_out == 0


def an_outcome(uri: str, what: tuple[str, str], token: str) -> Outcome:
    kind, word = what
    if kind == "picture":
        return shows(uri, word, token)
    return broken(uri, token) if kind == "broken" else unread(uri)


def fresh_only(
    engine: Engine, label_set: LabelSet, outcomes: list[Outcome], words: dict[str, str]
) -> ShardResult:
    """As `tagging` does: only contents that the catalogue lacks go through the tower."""
    known = known_contents(engine, label_set, {digest(word) for word in words.values()})
    return result(outcomes, sorted({word for word in words.values() if digest(word) not in known}))
