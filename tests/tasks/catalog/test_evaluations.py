"""Evaluations in SQL: every figure as it was found, once for a run and model, whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from fashion_clip.errors import CatalogError
from fashion_clip.evaluation import Evaluation, evaluate
from fashion_clip.intervals import Share
from fashion_clip.predictions import NONE_OF_THEM, Predictions
from fashion_clip.scoring import Decision, TopLabels
from tasks.catalog import evaluations
from tasks.catalog.commit import commit_shard
from tasks.catalog.evaluations import Told
from tasks.truth import import_truth
from tests.catalogue_fixtures import contents_of, new_run, rows
from tests.servers.proxy import FaultProxy
from tests.tasks.catalog.databases import COMMIT, ON_POSTGRESQL, allow_again, refuse
from tests.tasks.catalog.made_results import begun, claim_of, digest, result, shows

LABELS = ("Bags", "Coats", "日本's; --", "never seen")


def predictions(attribute: str, photos: int = 30, seed: int = 1) -> Predictions:
    """Made up: 0..2 are true or given, some photos are none of them, two photos show one product."""
    random = np.random.default_rng(seed)
    index = np.stack([random.permutation(3) for _ in range(photos)]).astype(np.int32)
    confidence = -np.sort(-random.dirichlet(np.ones(3), photos), axis=1).astype(np.float32)
    decision = np.full(photos, Decision.UNCALIBRATED, np.int8)
    return Predictions(
        attribute,
        LABELS,
        random.integers(NONE_OF_THEM, 3, photos),
        TopLabels(index, confidence - np.float32(0.5), confidence, decision),
        tuple(f"file:///photos/{number}.jpg" for number in range(photos)),
        np.arange(photos) // 2,
        random.uniform(1, 5, photos),
    )


def made(model: str = "one", seed: int = 1) -> Evaluation:
    said = [predictions("kind", seed=seed), predictions("mood", 20, seed)]
    years = {photo: str(2010 + number % 3) for number, photo in enumerate(said[0].photos)}
    return evaluate(model, "file:///photos/", "v1", said, {"year": years, "it's": years}, ["Beware."])


def shown(engine: Engine, view: str, run_id: int, key: str, figures: str) -> dict[tuple[Any, ...], list[Any]]:
    """Model and key -> figures, of the rows of a run in a view."""
    columns = len(key.split(",")) + 1
    found = rows(engine, f"SELECT model, {key}, {figures} FROM {view} WHERE run_id = :run_id", run_id=run_id)
    assert len({row[:columns] for row in found}) == len(found)
    return {row[:columns]: list(row[columns:]) for row in found}


def interval(share: Share) -> list[float]:
    return [share.estimate, share.low, share.high]


def test_attributes_are_shown_with_every_figure(engine: Engine) -> None:
    run_id, found = new_run(engine), [made("one"), made("two", seed=2)]
    evaluations.record(engine, run_id, found)
    names = "n, accuracy, ci_low, ci_high, top5, macro_f1, weighted_f1, calibration_error, coverage_at_95"
    assert shown(engine, "evaluation_history", run_id, "attribute", names) == {
        (one.model, each.attribute): [
            each.n,
            *interval(each.accuracy),
            each.top5,
            each.macro_f1,
            each.weighted_f1,
            each.calibration_error,
            each.coverage_at_95,
        ]
        for one in found
        for each in one.attributes
    }
    told = rows(engine, "SELECT DISTINCT data, taxonomy_version, run_id FROM evaluation_history")
    assert told == [("file:///photos/", "v1", run_id)]


def test_labels_that_occur_are_shown_with_every_figure(engine: Engine) -> None:
    run_id, found = new_run(engine), made()
    evaluations.record(engine, run_id, [found])
    names = "support, predicted, precision, recall, f1"
    assert shown(engine, "label_accuracy", run_id, "attribute, label", names) == {
        ("one", each.attribute, label.label): [
            label.support,
            label.predicted,
            label.precision,
            label.recall,
            label.f1,
        ]
        for each in found.attributes
        for label in each.labels
        if label.label != "never seen"
    }


def test_slices_are_shown_with_every_figure(engine: Engine) -> None:
    run_id, found = new_run(engine), made()
    evaluations.record(engine, run_id, [found])
    names = "n, accuracy, ci_low, ci_high"
    assert shown(engine, "slice_accuracy", run_id, "attribute, slice, value", names) == {
        ("one", part.attribute, part.name, part.value): [part.accuracy.n, *interval(part.accuracy)]
        for part in found.slices
    }
    assert len(found.slices) == 12


def test_the_document_is_whole(engine: Engine) -> None:
    found = made()
    evaluations.record(engine, new_run(engine), [found])
    [(document,)] = rows(engine, "SELECT document FROM evaluations")
    assert json.loads(document) == json.loads(json.dumps(found.as_dict()))


def test_a_second_time_changes_nothing(engine: Engine) -> None:
    run_id, found = new_run(engine), [made("one"), made("two")]
    evaluations.record(engine, run_id, found)
    before = contents_of(engine)
    evaluations.record(engine, run_id, found)
    assert contents_of(engine) == before
    evaluations.record(engine, new_run(engine), found)
    assert rows(engine, "SELECT COUNT(*) FROM evaluations") == [(4,)]


@pytest.mark.parametrize("table", ["evaluation_attributes", "evaluation_labels", "evaluation_slices"])
def test_what_fails_leaves_nothing(engine: Engine, table: str) -> None:
    run_id = new_run(engine)
    before = contents_of(engine)
    refuse(engine, "INSERT", table)
    with pytest.raises(CatalogError, match="refused"):
        evaluations.record(engine, run_id, [made("one"), made("two")])
    assert contents_of(engine) == before
    allow_again(engine, table)
    evaluations.record(engine, run_id, [made("one")])
    assert rows(engine, f"SELECT COUNT(*) > 0 FROM {table}")[0][0]


def test_without_slices_and_with_one_attribute(engine: Engine) -> None:
    found = replace(made(), slices=(), attributes=made().attributes[:1])
    evaluations.record(engine, new_run(engine), [found])
    assert rows(engine, "SELECT COUNT(*) FROM slice_accuracy") == [(0,)]
    assert rows(engine, "SELECT attribute FROM evaluation_history") == [("kind",)]


def test_what_people_say_is_told_photo_by_photo(engine: Engine, tmp_path: Path) -> None:
    label_set, run_id = begun(engine), new_run(engine)
    claim = claim_of(engine, run_id, ["file:///photos/a", "file:///photos/b"])
    outcomes = [shows("file:///photos/a", "shoe"), shows("file:///photos/b", "hat")]
    commit_shard(engine, run_id, claim, label_set, result(outcomes, ["shoe", "hat"]))
    assert not evaluations.has_truth(engine)
    assert evaluations.told(engine) == Told()
    lines = ["uri,attribute,label,chosen,inclusion_probability"]
    lines += ["file:///photos/a,category,Footwear,random,0.5", "file:///photos/b,category,(none),review,"]
    lines += ["file:///photos/a,articleType,Sandals,,"]
    (tmp_path / "truth.csv").write_text("\n".join(lines))
    import_truth(engine, tmp_path / "truth.csv", "tester", False, False)
    assert evaluations.has_truth(engine)
    assert evaluations.told(engine) == Told(
        {"category": {"file:///photos/a": "Footwear"}, "articleType": {"file:///photos/a": "Sandals"}},
        {
            "category": {"file:///photos/a": "random", "file:///photos/b": "review"},
            "articleType": {"file:///photos/a": "unsampled"},
        },
        {"file:///photos/a": digest("shoe"), "file:///photos/b": digest("hat")},
        {"file:///photos/a": "a", "file:///photos/b": "b"},
    )
    changed = shows("file:///photos/b", "coat")
    commit_shard(
        engine, run_id, claim_of(engine, run_id, [changed.uri]), label_set, result([changed], ["coat"])
    )
    assert evaluations.told(engine).digests["file:///photos/b"] == digest("hat")  # as it was seen


@ON_POSTGRESQL
@pytest.mark.parametrize("fault", ["rst-before:INSERT INTO evaluation_labels:1", f"rst-after:{COMMIT}:1"])
def test_a_connection_that_breaks_is_outlasted(
    engine: Engine, far: Engine, proxy: FaultProxy, fault: str
) -> None:
    run_id = new_run(engine)
    rows(far, "SELECT 1")  # it is connected
    proxy.mode = fault
    evaluations.record(far, run_id, [made()])
    assert proxy.struck == 1
    assert rows(engine, "SELECT run_id, model FROM evaluations") == [(run_id, "one")]
    assert len(rows(engine, "SELECT * FROM evaluation_history")) == 2
