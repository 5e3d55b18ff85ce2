"""Vectors of another encoder: made newest first, served whole, and what is lost is found again by a night."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine

from fashion_clip.errors import CatalogError, QuarantineError, SupersededError, UsageError
from fashion_clip.scoring import TopLabels, top_labels
from tasks.catalog import models, plan, reembedding, relabelling
from tasks.catalog.commit import commit_shard
from tasks.catalog.engine import writing
from tasks.catalog.models import LabelSet
from tasks.catalog.reembedding import BEGINNING, Reembedded, Waiting
from tasks.catalog.versions import Made, register
from tasks.sources import Listed
from tests.catalogue_fixtures import contents_of, new_run, rows
from tests.tasks.catalog.databases import refuse
from tests.tasks.catalog.made_results import (
    DEMO,
    FACTS,
    begun,
    broken,
    claim_of,
    digest,
    heads,
    result,
    shows,
    unread,
    vector,
)

WORDS = [f"word-{number}" for number in range(9)]
LATE = 400  # photos that a test may tag after the first ones
SHOWN = "SELECT uri, attribute, label, similarity FROM catalog_labels"
SOURCE = "file:///photos/"
OTHER_FACTS = replace(FACTS, checkpoint="made/anew", encoder_identity="another image tower")
MADE = Made("full", FACTS.version)


def scored(vectors: np.ndarray) -> dict[str, TopLabels]:
    return {head.attribute: top_labels(head, vectors.astype(np.float32)) for head in heads()}


def tag(
    engine: Engine, label_set: LabelSet, words: Sequence[str], names: Sequence[str] | None = None
) -> None:
    """Photos of those contents, embedded and labelled by a night for the label set."""
    outcomes = [shows(SOURCE + name, word) for name, word in zip(names or words, words, strict=True)]
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, [outcome.uri for outcome in outcomes])
    vectors = {digest(word): vector_of(label_set, word) for word in words}
    unique = list(dict.fromkeys(words))
    made = replace(
        result(outcomes, unique),
        embedded=vectors,
        top=scored(np.stack([vector_of(label_set, word) for word in unique])),
    )
    commit_shard(engine, run_id, claim, label_set, made)


def vector_of(label_set: LabelSet, word: str) -> np.ndarray:
    """What the set's encoder makes of a content."""
    made = vector(word)
    return made if label_set.encoder_identity == FACTS.encoder_identity else np.roll(made, 1)


@pytest.fixture
def current(engine: Engine) -> LabelSet:
    """The set that is served, with WORDS in it, one photo each."""
    label_set = begun(engine)
    tag(engine, label_set, WORDS)
    return label_set


@pytest.fixture
def wanted(engine: Engine, current: LabelSet) -> LabelSet:
    """A set of another encoder's, begun."""
    return models.label_set_for(engine, register(engine, OTHER_FACTS, MADE), DEMO)


def waiting(engine: Engine, label_set: LabelSet, before: int = BEGINNING, size: int = 100) -> list[str]:
    return [name(photo) for photo in reembedding.to_do(engine, label_set, before, size)]


def name(photo: Waiting) -> str:
    return photo.uri.removeprefix(SOURCE)


def made_of(label_set: LabelSet, chosen: Sequence[Waiting], lost: Iterable[str] = ()) -> Reembedded:
    """Their vectors, but of the photos of those names, which are lost."""
    lost = set(lost)
    done = [photo for photo in chosen if name(photo) not in lost]
    words = {digest(word): word for word in [*WORDS, *(f"late-{number}" for number in range(LATE))]}
    vectors = np.array(
        [vector_of(label_set, words[photo.sha256]) for photo in done], dtype=np.float16
    ).reshape(-1, FACTS.dimension)
    return Reembedded(
        done, vectors, scored(vectors) if done else {}, [photo for photo in chosen if name(photo) in lost]
    )


def embed_round(
    engine: Engine, label_set: LabelSet, lost: Iterable[str] = (), size: int = 4, run_id: int | None = None
) -> int:
    """As the flow does; returns the run."""
    run_id = run_id or new_run(engine)
    before = BEGINNING
    while chosen := reembedding.to_do(engine, label_set, before, size):
        reembedding.commit(engine, run_id, label_set, made_of(label_set, chosen, lost))
        before = chosen[-1].photo_id
    return run_id


def serve(engine: Engine, label_set: LabelSet, served: LabelSet, run_id: int | None = None) -> int | None:
    return reembedding.serve_if_whole(
        engine, run_id or new_run(engine), label_set, served.label_set_id, scored, "embedded anew"
    )


def shown(engine: Engine) -> list[tuple[object, ...]]:
    return sorted(rows(engine, SHOWN))


def as_if_tagged(engine: Engine, label_set: LabelSet, words: Iterable[str]) -> list[tuple[object, ...]]:
    expected = []
    for word in words:
        best: Mapping[str, TopLabels] = scored(vector_of(label_set, word)[None])
        for head in heads():
            one = best[head.attribute]
            label = head.labels[one.index[0, 0]]
            expected.append(
                (SOURCE + word, head.attribute, label, pytest.approx(one.similarity[0, 0], abs=1e-4))
            )
    return sorted(expected, key=lambda row: row[:2])


def gone(engine: Engine, *names: str) -> None:
    """A scan that finds all photos but these."""
    listed = [
        Listed(uri, token or "t1")
        for uri, token in rows(engine, "SELECT uri, change_token FROM photos ORDER BY uri")
        if uri.removeprefix(SOURCE) not in names
    ]
    plan.mark_presence(engine, scan(engine, listed)[1])


def scan(engine: Engine, listed: list[Listed]) -> tuple[int, plan.Findings]:
    run_id = new_run(engine)
    return run_id, plan.scan(engine, run_id, SOURCE, listed, lambda _: None)


def next_night(engine: Engine) -> set[str]:
    """What a scan that finds every photo as the catalogue had it first plans."""
    listed = [Listed(uri, "t1") for (uri,) in rows(engine, "SELECT uri FROM photos ORDER BY uri")]
    run_id, findings = scan(engine, listed)
    plan.drop_unlisted_work(engine, run_id, SOURCE)
    plan.mark_presence(engine, findings)
    return {uri.removeprefix(SOURCE) for (uri,) in rows(engine, "SELECT uri FROM work")}


def test_labels_are_those_of_a_catalogue_tagged_so(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    before = shown(engine)
    run_id = embed_round(engine, wanted)
    assert shown(engine) == before
    assert serve(engine, wanted, current, run_id) == 0
    assert shown(engine) == as_if_tagged(engine, wanted, WORDS)
    assert shown(engine) != before
    assert rows(engine, f"SELECT embedded, tagged, quarantined FROM run_history WHERE run_id = {run_id}") == [
        (len(WORDS), len(WORDS), 0)
    ]
    assert rows(engine, "SELECT COUNT(*) FROM embeddings") == [(2 * len(WORDS),)]


@pytest.mark.parametrize("page", [1, 3, reembedding.PAGE])
def test_the_newest_come_first_and_pages_by_key(
    engine: Engine, wanted: LabelSet, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "PAGE", page)
    first = reembedding.to_do(engine, wanted, BEGINNING, 4)
    assert [name(photo) for photo in first] == WORDS[:-5:-1]
    assert first[0].sha256 == digest(WORDS[-1])
    assert waiting(engine, wanted, first[-1].photo_id, 4) == WORDS[-5:-9:-1]
    assert waiting(engine, wanted, first[-1].photo_id) == WORDS[-5::-1]
    assert reembedding.contents_to_do(engine, wanted) == len(WORDS)


def test_what_has_a_vector_is_not_embedded_again(
    engine: Engine, current: LabelSet, wanted: LabelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reembedding, "PAGE", 2)
    chosen = reembedding.to_do(engine, wanted, BEGINNING, 3)
    reembedding.commit(engine, new_run(engine), wanted, made_of(wanted, chosen))
    assert waiting(engine, wanted) == WORDS[-4::-1]
    assert reembedding.contents_to_do(engine, wanted) == len(WORDS) - 3
    assert reembedding.contents_to_do(engine, current) == 0
    assert waiting(engine, current) == []


def test_of_a_content_the_newest_photo_that_can_be_read(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    copies = ["copy-1", "copy-2", "copy-3"]
    tag(engine, current, [WORDS[0]] * 3, copies)
    assert waiting(engine, wanted) == ["copy-3", *WORDS[:0:-1]]
    assert waiting(engine, wanted, size=1) == ["copy-3"]
    gone(engine, "copy-3")
    assert waiting(engine, wanted)[0] == "copy-2"
    embed_round(engine, wanted, lost=["copy-2"])
    assert waiting(engine, wanted) == ["copy-1"]
    assert serve(engine, wanted, current) is None
    embed_round(engine, wanted)
    assert serve(engine, wanted, current) == 0


def test_vanished_photos_and_those_in_quarantine_are_left_out(engine: Engine, wanted: LabelSet) -> None:
    gone(engine, WORDS[3])
    run_id, uris = new_run(engine), [SOURCE + WORDS[4], SOURCE + WORDS[5]]
    served = models.served(engine)
    assert served
    outcomes = [unread(uris[0], "t2"), broken(uris[1], "t2")]
    commit_shard(engine, run_id, claim_of(engine, run_id, uris, "t2"), served, result(outcomes))
    assert waiting(engine, wanted) == [word for word in WORDS[::-1] if word not in WORDS[3:6]]
    assert reembedding.contents_to_do(engine, wanted) == len(WORDS) - 3


def test_a_shard_written_again_stands_once(engine: Engine, wanted: LabelSet) -> None:
    run_id, chosen = new_run(engine), reembedding.to_do(engine, wanted, BEGINNING, 4)
    for _ in range(2):
        reembedding._commit(engine, run_id, wanted, made_of(wanted, chosen), "the same claim")
    assert rows(engine, f"SELECT embedded, tagged FROM run_history WHERE run_id = {run_id}") == [(4, 4)]


@pytest.mark.parametrize("table", ["embeddings", "labels", "shards"])
def test_a_shard_is_written_whole_or_not_at_all(engine: Engine, wanted: LabelSet, table: str) -> None:
    chosen = reembedding.to_do(engine, wanted, BEGINNING, 4)
    run_id, before = new_run(engine), contents_of(engine)
    refuse(engine, "INSERT", table)
    with pytest.raises(CatalogError, match="refused"):
        reembedding.commit(engine, run_id, wanted, made_of(wanted, chosen))
    after = contents_of(engine)
    assert {name: after[name] for name in before} == before | {"runs": after["runs"]}


def test_nothing_is_served_while_a_photo_is_to_be_embedded(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    embed_round(engine, wanted)
    tag(engine, current, ["late-0"])
    run_id = new_run(engine)
    before = contents_of(engine)
    assert serve(engine, wanted, current, run_id) is None
    assert contents_of(engine) == before
    assert waiting(engine, wanted) == ["late-0"]
    embed_round(engine, wanted)
    assert serve(engine, wanted, current) == 0
    assert shown(engine) == as_if_tagged(engine, wanted, sorted([*WORDS, "late-0"]))


def test_vectors_from_before_are_labelled_at_the_switch(
    engine: Engine, current: LabelSet, wanted: LabelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back to an encoder for a taxonomy that it never labelled for."""
    embed_round(engine, wanted)
    with writing(engine) as connection:
        connection.exec_driver_sql(f"DELETE FROM labels WHERE label_set_id = {wanted.label_set_id}")
    with monkeypatch.context() as patched:
        patched.setattr(relabelling, "PAGE", len(WORDS) - 1)
        before = contents_of(engine)
        assert serve(engine, wanted, current) is None
        after = contents_of(engine)
        assert {name: after[name] for name in before if name != "runs"} == {
            name: before[name] for name in before if name != "runs"
        }
    assert serve(engine, wanted, current) == 0
    assert shown(engine) == as_if_tagged(engine, wanted, WORDS)


def test_the_way_back_is_what_came_since(engine: Engine, current: LabelSet, wanted: LabelSet) -> None:
    before = shown(engine)
    embed_round(engine, wanted)
    serve(engine, wanted, current)
    tag(engine, wanted, ["late-0", "late-1"])
    assert waiting(engine, current) == ["late-1", "late-0"]
    embed_round(engine, current)
    assert serve(engine, current, wanted) == 0
    assert [row for row in shown(engine) if not str(row[0]).startswith(f"{SOURCE}late")] == before
    assert shown(engine) == as_if_tagged(engine, current, sorted([*WORDS, "late-0", "late-1"]))
    told = rows(engine, "SELECT version, role FROM model_history ORDER BY version")
    assert told == [(OTHER_FACTS.version, "archived"), (FACTS.version, "champion")]


def test_labels_of_a_set_that_is_served_already_are_left_alone(engine: Engine, current: LabelSet) -> None:
    run_id, before = new_run(engine), contents_of(engine)
    assert serve(engine, current, current, run_id) == 0
    assert contents_of(engine) == before


def test_other_labels_that_were_served_meanwhile_stay(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    facts = replace(OTHER_FACTS, text_identity="third")
    third = models.label_set_for(engine, register(engine, facts, MADE), DEMO)
    embed_round(engine, third)
    assert serve(engine, third, current) == 0
    embed_round(engine, wanted)
    with pytest.raises(CatalogError, match=f"other labels were served while .* for {OTHER_FACTS.version}"):
        serve(engine, wanted, current)
    assert models.served(engine) == third


def test_a_model_that_nobody_registered(engine: Engine, current: LabelSet) -> None:
    with pytest.raises(UsageError, match="no model 'nobody' is registered"):
        models.label_set_for(engine, "nobody", DEMO)


# What is lost -----------------------------------------------------------------------------------------------


def test_a_lost_photo_keeps_nothing_from_being_served_and_is_read_by_the_next_night(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    embed_round(engine, wanted, lost=WORDS[2:4])
    assert shown(engine) == as_if_tagged(engine, current, WORDS)
    assert waiting(engine, wanted) == []
    assert serve(engine, wanted, current) == 2
    assert shown(engine) == as_if_tagged(engine, wanted, [*WORDS[:2], *WORDS[4:]])
    assert next_night(engine) == set(WORDS[2:4])


def test_what_a_night_finds_as_it_was_is_embedded_before_the_switch(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    embed_round(engine, wanted, lost=[WORDS[2]])
    assert next_night(engine) == {WORDS[2]}
    with writing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM work")
    tag(engine, current, [WORDS[2]])
    assert waiting(engine, wanted) == [WORDS[2]]
    assert serve(engine, wanted, current) is None
    embed_round(engine, wanted)
    assert serve(engine, wanted, current) == 0


def test_a_photo_that_a_night_tagged_anew_meanwhile_is_not_lost(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    chosen = reembedding.to_do(engine, wanted, BEGINNING, 100)
    tag(engine, current, ["late-0"], [WORDS[2]])
    reembedding.commit(engine, new_run(engine), wanted, made_of(wanted, chosen, [WORDS[2]]))
    assert waiting(engine, wanted) == [WORDS[2]]
    assert next_night(engine) == set()


def test_too_many_losses_refuse_the_switch_and_keep_the_rest(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    embed_round(engine, wanted, lost=WORDS[2:5])
    before = contents_of(engine)
    with pytest.raises(QuarantineError, match=r"3 of 9 photos cannot be read .* more than 1%"):
        reembedding.refuse_losses(engine, wanted)
    run_id = new_run(engine)
    with pytest.raises(QuarantineError, match=r"3 of 9 photos cannot be read .* more than 1%"):
        serve(engine, wanted, current, run_id)
    after = contents_of(engine)
    assert {name: after[name] for name in before if name != "runs"} == {
        name: before[name] for name in before if name != "runs"
    }
    assert len(rows(engine, f"SELECT * FROM embeddings WHERE encoder_id = {wanted.encoder_id}")) == 6
    gone(engine, WORDS[2])
    assert serve(engine, wanted, current) == 2


def test_one_in_a_hundred_is_not_too_many(engine: Engine, current: LabelSet, wanted: LabelSet) -> None:
    tag(engine, current, [f"late-{number}" for number in range(400 - len(WORDS))])
    embed_round(engine, wanted, lost=[f"late-{number}" for number in range(4)], size=200)
    reembedding.refuse_losses(engine, wanted)
    gone(engine, WORDS[0])
    with pytest.raises(QuarantineError, match="4 of 399 photos"):
        serve(engine, wanted, current)


def test_a_photo_that_was_away_is_read_when_it_comes_back(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    gone(engine, WORDS[0], WORDS[1])
    embed_round(engine, wanted)
    assert serve(engine, wanted, current) == 0
    assert next_night(engine) == {WORDS[0], WORDS[1]}


def test_a_photo_that_comes_back_before_the_switch_is_embedded(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    gone(engine, WORDS[0])
    embed_round(engine, wanted)
    assert next_night(engine) == set()
    assert waiting(engine, wanted) == [WORDS[0]]
    assert serve(engine, wanted, current) is None


# Beside nights ----------------------------------------------------------------------------------------------


def test_a_shard_that_was_labelled_for_the_old_set_is_refused(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    run_id, uri = new_run(engine), f"{SOURCE}late-0"
    claim = claim_of(engine, run_id, [uri])
    late = result([shows(uri, "late-0")], ["late-0"])
    embed_round(engine, wanted)
    assert serve(engine, wanted, current) == 0
    with pytest.raises(SupersededError):
        commit_shard(engine, run_id, claim, current, late)
    assert len(shown(engine)) == 2 * len(WORDS)


def test_nights_and_switches_at_once_leave_no_hole(
    engine: Engine, current: LabelSet, wanted: LabelSet
) -> None:
    """Workers commit for whatever is served while the catalogue is embedded to and fro."""
    sets = {one.label_set_id: one for one in (current, wanted)}
    numbers, over = iter(range(150)), threading.Event()
    committed: list[int] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not over.is_set():
                served, number = models.served(engine), next(numbers)
                assert served is not None
                try:
                    tag(engine, sets[served.label_set_id], [f"late-{number}"])
                    committed.append(number)
                except SupersededError:
                    continue
        except StopIteration:
            return
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for rounds in range(1, 101):
            for target, served in ((wanted, current), (current, wanted)):
                embed_round(engine, target)
                while serve(engine, target, served) is None:
                    embed_round(engine, target)
            if rounds >= 3 and committed:
                break
            over.wait(0.005)
    finally:
        over.set()
        for worker in workers:
            worker.join()
    assert failures == []
    present = rows(engine, "SELECT COUNT(*) FROM photos WHERE content_id IS NOT NULL")[0][0]
    assert committed
    assert present == len(WORDS) + len(committed)
    assert len(shown(engine)) == 2 * present


def test_one_at_a_time(engine: Engine, current: LabelSet) -> None:
    run_id = new_run(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql(f"UPDATE runs SET flow = 'reembed-catalog' WHERE run_id = {run_id}")
    assert relabelling.other_run(engine, run_id + 1, reembedding.FLOW) == run_id
    assert relabelling.other_run(engine, run_id + 1) is None
    assert relabelling.other_run(engine, run_id, reembedding.FLOW) is None
