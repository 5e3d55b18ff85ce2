"""Labels from stored vectors: those of a fresh catalogue, served whole, wherever a relabelling broke off."""

import threading
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine, delete, select

from fashion_clip.calibration import AttributeCalibration, Calibration, attribute_version
from fashion_clip.errors import CatalogError, SupersededError
from fashion_clip.labeller import Labeller
from fashion_clip.labeller import label as labelled
from fashion_clip.scoring import TopLabels, top_labels
from fashion_clip.taxonomy import Taxonomy, parse_taxonomy
from tasks.catalog import models, relabelling, versions
from tasks.catalog.commit import commit_shard
from tasks.catalog.engine import writing
from tasks.catalog.models import LabelSet
from tasks.catalog.relabel_preview import preview
from tasks.catalog.relabelling import Page
from tasks.catalog.tables import labels
from tasks.catalog.versions import Made
from tests.catalogue_fixtures import contents_of, new_run, rows
from tests.tasks.catalog.made_results import (
    DEMO,
    FACTS,
    begun,
    broken,
    claim_of,
    heads,
    result,
    shows,
    vector,
)

# Of the demo's taxonomy one attribute is gone, one has other labels, some of them the same, and one is new.
OTHER = parse_taxonomy(
    {
        "name": "other",
        "attributes": {
            "articleType": {"labels": ["Bags", "Coats", "Hats", "Scarves"]},
            "mood": {"labels": ["warm", "cold"]},
        },
    }
)
SHOWN = "SELECT uri, attribute, label, similarity, confidence FROM catalog_labels"
WORDS = [f"word {number}" for number in range(9)]


def tag(engine: Engine, label_set: LabelSet, words: list[str], run_id: int | None = None) -> None:
    """Photos of those contents, labelled for the label set by a shard of a run."""
    run_id = run_id or new_run(engine)
    outcomes = [shows(f"file:///photos/{word.replace(' ', '-')}", word) for word in words]
    claim = claim_of(engine, run_id, [outcome.uri for outcome in outcomes])
    made = replace(result(outcomes, words), top=scored(label_set.taxonomy, vectors_of(words)))
    commit_shard(engine, run_id, claim, label_set, made)


def vectors_of(words: list[str]) -> np.ndarray:
    return np.stack([vector(word) for word in words]).astype(np.float32)


def scored(taxonomy: Taxonomy, vectors: np.ndarray) -> Mapping[str, TopLabels]:
    return {head.attribute: top_labels(head, vectors) for head in heads(taxonomy)}


def label_page(engine: Engine, run_id: int, label_set: LabelSet, after: int = 0, size: int = 4) -> Page:
    page = relabelling.lacking(engine, label_set, after, size)
    if page.content_ids:
        top = scored(label_set.taxonomy, page.vectors)
        relabelling.write_labels(engine, run_id, label_set, page, top)
    return page


def serve(engine: Engine, run_id: int, label_set: LabelSet, champion: str = FACTS.version) -> bool:
    return relabelling.serve_if_whole(
        engine, run_id, label_set, champion, lambda vectors: scored(label_set.taxonomy, vectors), "relabelled"
    )


def relabel(engine: Engine, current: LabelSet, taxonomy: Taxonomy = OTHER) -> LabelSet:
    """As the flow does."""
    run_id = new_run(engine)
    label_set = models.label_set_for(engine, current.model_version, taxonomy)
    after = 0
    while (page := label_page(engine, run_id, label_set, after)).content_ids:
        after = page.content_ids[-1]
    assert serve(engine, run_id, label_set)
    return label_set


def shown(engine: Engine) -> list[tuple[object, ...]]:
    return sorted(rows(engine, SHOWN))


def test_labels_are_those_of_a_catalogue_tagged_so(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS)
    before = shown(engine)
    relabel(engine, current)
    after = shown(engine)
    assert {row[1] for row in after} == {"articleType", "mood"}
    expected = scored(OTHER, vectors_of(WORDS))
    for uri, attribute, label, similarity, confidence in after:
        number = WORDS.index(str(uri).rpartition("/")[2].replace("-", " "))
        best = expected[str(attribute)]
        head = next(head for head in heads(OTHER) if head.attribute == attribute)
        assert label == head.labels[best.index[number, 0]]
        assert similarity == pytest.approx(best.similarity[number, 0], abs=0.0001)
        assert confidence == pytest.approx(best.confidence[number, 0], abs=0.0001)
    assert len(after) == 2 * len(WORDS)
    assert before != after


def test_nothing_shows_before_all_is_there(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS)
    before = shown(engine)
    run_id, label_set = new_run(engine), models.label_set_for(engine, current.model_version, OTHER)
    label_page(engine, run_id, label_set)
    assert shown(engine) == before
    assert rows(engine, "SELECT status FROM label_sets ORDER BY label_set_id") == [
        ("complete",),
        ("building",),
    ]


def test_pages_come_in_order_and_only_what_lacks_labels(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS)
    label_set = models.label_set_for(engine, current.model_version, OTHER)
    ids = [row[0] for row in rows(engine, "SELECT content_id FROM embeddings ORDER BY content_id")]
    first = label_page(engine, new_run(engine), label_set)
    assert first.content_ids == ids[:4]
    again = relabelling.lacking(engine, label_set, 0, 4)
    assert again.content_ids == ids[4:8]
    assert again.vectors.dtype == np.float32
    stored = dict(rows(engine, "SELECT c.content_id, c.sha256 FROM contents c"))
    by_digest = {shows("", word).sha256: word for word in WORDS}
    for content_id, row in zip(again.content_ids, again.vectors, strict=True):
        np.testing.assert_array_equal(row, vector(by_digest[stored[content_id]]).astype(np.float32))
    assert relabelling.lacking(engine, label_set, ids[-1], 4).content_ids == []
    assert relabelling.lacking(engine, label_set, ids[-1], 4).vectors.shape == (0, FACTS.dimension)


def test_what_breaks_off_is_gone_on_with(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS)
    label_set = models.label_set_for(engine, current.model_version, OTHER)
    broken_off = new_run(engine)
    done = label_page(engine, broken_off, label_set)
    assert relabel(engine, current).label_set_id == label_set.label_set_id
    by_run = dict(rows(engine, "SELECT run_id, COUNT(DISTINCT uri) FROM catalog_labels GROUP BY run_id"))
    assert by_run[broken_off] == len(done.content_ids)
    assert sum(by_run.values()) == len(WORDS)


def test_a_page_written_again_stands_once(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS)
    run_id, label_set = new_run(engine), models.label_set_for(engine, current.model_version, OTHER)
    page = relabelling.lacking(engine, label_set, 0, 4)
    top = scored(OTHER, page.vectors)
    for _ in range(2):
        relabelling._write_labels(engine, run_id, label_set, page, top, "the same claim")
    assert rows(engine, f"SELECT tagged FROM run_history WHERE run_id = {run_id}") == [(4,)]


def test_what_a_night_adds_meanwhile_is_labelled_at_the_switch(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS[:5])
    run_id, label_set = new_run(engine), models.label_set_for(engine, current.model_version, OTHER)
    label_page(engine, run_id, label_set, size=10)
    tag(engine, current, WORDS[5:])
    assert serve(engine, run_id, label_set)
    assert len(shown(engine)) == 2 * len(WORDS)
    assert rows(engine, f"SELECT tagged FROM run_history WHERE run_id = {run_id}") == [(len(WORDS),)]


def test_more_than_a_page_is_not_labelled_under_the_lock(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relabelling, "PAGE", 3)
    current = begun(engine)
    tag(engine, current, WORDS)
    run_id, label_set = new_run(engine), models.label_set_for(engine, current.model_version, OTHER)
    before = contents_of(engine)
    assert not serve(engine, run_id, label_set)
    assert contents_of(engine) == before
    label_page(engine, run_id, label_set, size=6)
    assert serve(engine, run_id, label_set)
    assert len(shown(engine)) == 2 * len(WORDS)


def test_a_shard_that_was_labelled_for_the_old_set_is_refused(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS[:5])
    run_id = new_run(engine)
    uris = ["file:///photos/late"]
    claim = claim_of(engine, run_id, uris)
    late = result([shows(uris[0], "late")], ["late"])
    relabel(engine, current)
    before = contents_of(engine)
    with pytest.raises(SupersededError):
        commit_shard(engine, run_id, claim, current, late)
    assert contents_of(engine) == before


def test_a_shard_of_failures_alone_is_refused_as_well_and_done_anew(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS[:5])
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, ["file:///photos/broken"])
    served = relabel(engine, current)
    failed = result([broken("file:///photos/broken")])
    with pytest.raises(SupersededError):
        commit_shard(engine, run_id, claim, current, failed)
    assert commit_shard(engine, run_id, claim, served, failed).quarantined == 1


def test_a_commit_whose_answer_was_lost_counts_after_a_switch_too(engine: Engine) -> None:
    current = begun(engine)
    run_id = new_run(engine)
    claim = claim_of(engine, run_id, ["file:///photos/a"])
    made = result([shows("file:///photos/a", "a")], ["a"])
    counts = commit_shard(engine, run_id, claim, current, made)
    relabel(engine, current)
    assert commit_shard(engine, run_id, claim, current, made) == counts


def test_shards_at_once_with_switches_leave_no_hole(engine: Engine) -> None:
    """Workers commit for whatever is served while the pointer moves to and fro."""
    first = begun(engine)
    tag(engine, first, WORDS)
    second = relabel(engine, first)
    sets = {one.label_set_id: one for one in (first, second)}
    over = threading.Event()
    failures: list[BaseException] = []
    committed: list[str] = []

    def work(name: str) -> None:
        number = 0
        try:
            while not over.is_set():
                current = models.served(engine)
                assert current is not None
                try:
                    tag(engine, sets[current.label_set_id], [f"{name} {number}"])
                    committed.append(name)
                except SupersededError:
                    continue
                finally:
                    number += 1
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(f"worker {number}",)) for number in range(2)]
    for worker in workers:
        worker.start()
    try:
        for switches in range(1, 201):
            relabel(engine, first, first.taxonomy)
            relabel(engine, second, second.taxonomy)
            if switches >= 4 and len(set(committed)) == len(workers):
                break
            over.wait(0.005)  # without it a worker may be too late for every switch
    finally:
        over.set()
        for worker in workers:
            worker.join()
    assert failures == []
    attributes = {row[1] for row in shown(engine)}
    assert attributes == {"articleType", "mood"}
    photos = rows(engine, "SELECT COUNT(*) FROM photos WHERE content_id IS NOT NULL")[0][0]
    assert len(set(committed)) == len(workers)
    assert photos == len(WORDS) + len(committed)
    assert len(shown(engine)) == 2 * photos


def test_the_old_labels_are_served_again_at_once(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS)
    before = shown(engine)
    relabel(engine, current)
    written = rows(engine, "SELECT COUNT(*) FROM labels")
    again = relabel(engine, current, current.taxonomy)
    assert again.label_set_id == current.label_set_id
    assert shown(engine) == before
    assert rows(engine, "SELECT COUNT(*) FROM labels") == written


def test_history_tells_when_each_was_served(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS[:1])
    relabel(engine, current)
    log = rows(engine, "SELECT reason, served_to IS NULL FROM served_log ORDER BY served_log_id")
    assert [(reason, bool(still)) for reason, still in log] == [
        ("first model of the catalogue", False),
        ("relabelled", True),
    ]
    history = rows(
        engine,
        "SELECT attribute, taxonomy_version, served_to IS NULL FROM label_history ORDER BY served_from",
    )
    told = {(attribute, version, bool(still)) for attribute, version, still in history}
    assert told == {
        ("articleType", current.taxonomy.version, False),
        ("category", current.taxonomy.version, False),
        ("articleType", OTHER.version, True),
        ("mood", OTHER.version, True),
    }


def test_labels_of_a_model_that_is_champion_no_more_are_not_served(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS)
    label_set = models.label_set_for(engine, current.model_version, OTHER)
    with pytest.raises(CatalogError, match="was promoted while labels were made in place of another's"):
        serve(engine, new_run(engine), label_set, "another")


def test_one_relabelling_at_a_time(engine: Engine) -> None:
    begun(engine)
    assert relabelling.other_run(engine, new_run(engine)) is None
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE runs SET flow = 'relabel-catalog'")
    assert relabelling.other_run(engine, 99) == 1
    assert relabelling.other_run(engine, 1) is None
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE runs SET status = 'completed'")
    assert relabelling.other_run(engine, 99) is None


# Preview ----------------------------------------------------------------------------------------------------


def test_a_preview_tells_what_then_happens_and_writes_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.catalog.relabel_preview.PAGE", 4)
    current = begun(engine)
    tag(engine, current, WORDS)
    before, everything = shown(engine), contents_of(engine)
    pages: list[int] = []
    found = preview(engine, current, Labeller(OTHER, tuple(heads(OTHER))), pages.append)
    assert contents_of(engine) == everything
    assert pages == [4, 4, 1]
    assert (found.pictures, found.new, found.dropped) == (9, ("mood",), ("category",))
    relabel(engine, current)
    old = {row[0]: row[2] for row in before if row[1] == "articleType"}
    new = {row[0]: row[2] for row in shown(engine) if row[1] == "articleType"}
    pairs = [(old[uri], new[uri]) for uri in old if old[uri] != new[uri]]
    [told] = found.attributes
    assert (told.attribute, told.pictures, told.changed) == ("articleType", 9, len(pairs))
    assert pairs
    assert {(change.before, change.after): change.pictures for change in told.changes} == {
        pair: pairs.count(pair) for pair in pairs
    }
    for change in told.changes:
        assert change.example_uri is not None
        assert (old[change.example_uri], new[change.example_uri]) == (change.before, change.after)
    assert [change.pictures for change in told.changes] == sorted(
        (change.pictures for change in told.changes), reverse=True
    )


def test_a_preview_of_what_is_served_changes_nothing(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS)
    found = preview(engine, current, Labeller(DEMO, tuple(heads())), lambda _: None)
    assert [(one.pictures, one.changed, one.changes) for one in found.attributes] == [(9, 0, ())] * 2
    assert (found.new, found.dropped) == ((), ())


def test_a_preview_leaves_out_what_has_no_labels(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS)
    with writing(engine) as connection:
        first = select(labels.c.content_id).order_by(labels.c.content_id).limit(1)
        content_id = connection.execute(first).scalar_one()
        connection.execute(delete(labels).where(labels.c.content_id == content_id))
    found = preview(engine, current, Labeller(OTHER, tuple(heads(OTHER))), lambda _: None)
    assert (found.pictures, found.attributes[0].pictures) == (9, 8)


def test_a_preview_of_nothing(engine: Engine) -> None:
    found = preview(engine, begun(engine), Labeller(OTHER, tuple(heads(OTHER))), lambda _: None)
    assert (found.pictures, [one.changed for one in found.attributes]) == (0, [0])


def calibrated(engine: Engine, parent: LabelSet, threshold: float) -> LabelSet:
    """A set of the parent's model with a calibration that accepts from the threshold on."""
    entries = {
        each.name: AttributeCalibration(
            attribute_version(DEMO, each), 1.0, (), 1.0, 0.0, threshold, 100, 0.1, 0.1, 0.5
        )
        for each in DEMO.attributes
    }
    facts = replace(FACTS, calibration=Calibration(0.95, 0.9, "truth", 0.5, entries))
    made = Made("calibrate", parent.model_version)
    version = versions.register(engine, facts, made)
    assert versions.register(engine, facts, made) == version
    return models.label_set_for(engine, version, DEMO)


def fill_calibrated(engine: Engine, label_set: LabelSet) -> None:
    page = relabelling.lacking(engine, label_set, 0)
    top = labelled(Labeller(DEMO, tuple(heads()), label_set.calibration), page.vectors)
    relabelling.write_labels(engine, new_run(engine), label_set, page, top)


def serve_calibrated(engine: Engine, label_set: LabelSet, champion: str) -> bool:
    """A set that lacks nothing."""
    return relabelling.serve_if_whole(
        engine, new_run(engine), label_set, champion, lambda _: {}, "calibrated"
    )


def test_a_calibration_of_the_champion_is_served_and_may_be_calibrated_again(engine: Engine) -> None:
    current = begun(engine)
    tag(engine, current, WORDS)
    champion, first = current.model_version, current
    for threshold in (0.4, 0.8, 0.4):
        current = calibrated(engine, current, threshold)
        fill_calibrated(engine, current)
        assert serve_calibrated(engine, current, champion)
        champion = current.model_version
        told = rows(engine, "SELECT confidence, decision FROM catalog_labels")
        assert len(told) == 2 * len(WORDS)
        assert {decision for _, decision in told} == {"accepted", "review"}
        assert all((decision == "accepted") == (confidence >= threshold) for confidence, decision in told)
    assert serve_calibrated(engine, first, champion)  # and back to the one without
    assert {row[0] for row in rows(engine, "SELECT decision FROM catalog_labels")} == {"uncalibrated"}
    assert serve_calibrated(engine, current, first.model_version)
    assert rows(engine, "SELECT COUNT(*) FROM model_history WHERE role = 'archived'") == [(2,)]
    assert rows(engine, "SELECT rung, parent IS NULL FROM model_history WHERE role = 'champion'") == [
        ("calibrate", False)
    ]


def test_a_calibration_of_a_model_that_is_champion_no_more_is_not_served(engine: Engine) -> None:
    first = begun(engine)
    tag(engine, first, WORDS)
    late, other = calibrated(engine, first, 0.2), calibrated(engine, first, 0.9)
    fill_calibrated(engine, late)
    fill_calibrated(engine, other)
    assert serve_calibrated(engine, other, first.model_version)
    with pytest.raises(
        CatalogError, match=f"model {other.model_version} was promoted while labels were made"
    ):
        serve_calibrated(engine, late, first.model_version)
