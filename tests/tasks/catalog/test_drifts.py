"""Drift of a run's photos: seen after enough nights, not without one, written once; unknown photos too."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count, islice

import numpy as np
import pytest
from sqlalchemy import Engine, select, update

from fashion_clip.calibration import AttributeCalibration, Calibration, attribute_version
from fashion_clip.scoring import Decision
from fashion_clip.unknown import UnknownRule
from tasks.catalog import drifts
from tasks.catalog.commit import commit_shard
from tasks.catalog.drifts import Drift
from tasks.catalog.engine import writing
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import labels, shards
from tests.catalogue_fixtures import new_run, rows
from tests.tasks.catalog.made_results import DEMO, DIMENSION, FACTS, begun, claim_of, result, shows, vector

A_NIGHT = 6  # photos
KNOWN = 40  # nights


def any_photo(_content: str) -> bool:
    return True


def one_sided(content: str) -> bool:
    return float(vector(content)[0]) > 0.2


def tonight(engine: Engine, label_set: LabelSet, number: int, kind: Callable[[str], bool] = any_photo) -> int:
    """A run that tags photos of a kind, each a product of its own; returns its run_id."""
    made = (f"{number} {place}" for place in count())
    contents = list(islice(filter(kind, made), A_NIGHT))
    run_id = new_run(engine)
    outcomes = [shows(f"file:///photos/{content}", content) for content in contents]
    claim = claim_of(engine, run_id, [outcome.uri for outcome in outcomes])
    commit_shard(engine, run_id, claim, label_set, result(outcomes, contents))
    return run_id


def look(engine: Engine, run_id: int, label_set: LabelSet) -> list[Drift]:
    return drifts.look(engine, run_id, label_set, timedelta())


@pytest.fixture
def known(engine: Engine) -> LabelSet:
    """Nights enough for a reference, which is made."""
    label_set = begun(engine)
    runs = [tonight(engine, label_set, number) for number in range(KNOWN)]
    assert look(engine, runs[-1], label_set) == []
    assert rows(engine, "SELECT COUNT(*) FROM drift_references") == [(1,)]
    return label_set


def test_before_there_is_a_reference_nothing_is_told(engine: Engine) -> None:
    label_set = begun(engine)
    assert look(engine, tonight(engine, label_set, 0), label_set) == []
    assert rows(engine, "SELECT COUNT(*) FROM drift_references") == [(0,)]


def test_other_photos_are_seen_after_some_nights_and_the_same_never(engine: Engine, known: LabelSet) -> None:
    for number in range(100, 110):
        [quiet] = look(engine, tonight(engine, known, number), known)
        assert not quiet.drifted
    assert quiet.photos == A_NIGHT
    seen = []
    for number in range(200, 210):
        [found] = look(engine, tonight(engine, known, number, one_sided), known)
        seen.append(found.drifted)
    assert not seen[0]  # a single night never tells
    assert seen[-1]
    assert "unlike those that the champion knew" in found.sentence
    history = rows(engine, "SELECT kind, drifted FROM drift_history ORDER BY run_id")
    assert history == [("embeddings", int(drifted)) for drifted in [False] * 10 + seen]


def test_a_night_is_all_that_was_tagged_since_the_last_look(engine: Engine, known: LabelSet) -> None:
    """By several machines, or by a run that died before it looked."""
    tonight(engine, known, 100)
    run_id = tonight(engine, known, 101)
    [found] = look(engine, run_id, known)
    assert found.photos == 2 * A_NIGHT
    assert look(engine, run_id, known) == [found]
    [empty] = look(engine, new_run(engine), known)
    assert (empty.photos, empty.statistic, empty.drifted) == (0, None, False)
    soon = tonight(engine, known, 102)
    assert drifts.look(engine, soon, known, timedelta(hours=20)) == []
    [later] = look(engine, new_run(engine), known)
    assert later.photos == A_NIGHT


def test_photos_like_no_product_are_counted_where_there_is_a_rule(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drifts, "UNKNOWN_REFERENCE", 2 * A_NIGHT)
    rule = UnknownRule(
        np.zeros(DIMENSION, np.float32),
        np.zeros((0, DIMENSION), np.float32),
        np.zeros(0, np.float32),
        1.0,
        9.0,
    )
    last = DEMO.attributes[-1]  # only its decisions tell: the others are not calibrated
    entry = AttributeCalibration(attribute_version(DEMO, last), 1.0, (), 1.0, 0.0, 0.5, 100, 0.1, 0.1, 0.5)
    calibration = Calibration(0.95, 0.9, "t", 0.5, {last.name: entry}, rule)
    label_set = begun(engine, replace(FACTS, calibration=calibration))
    runs = [tonight(engine, label_set, number) for number in range(KNOWN)]
    look(engine, runs[-1], label_set)
    for number in range(100, 102):
        _, known = look(engine, tonight(engine, label_set, number), label_set)
        assert (known.kind, known.statistic, known.drifted) == ("unknown", 0.0, False)
    drifted = []
    for number in range(200, 215):
        run_id = tonight(engine, label_set, number)
        with writing(engine) as connection:
            of_run = select(shards.c.shard_id).where(shards.c.run_id == run_id)
            strange = labels.c.shard_id.in_(of_run) & (
                labels.c.attribute_id == label_set.attribute_ids[last.name]
            )
            connection.execute(update(labels).where(strange).values(decision=int(Decision.UNKNOWN)))
        _, found = look(engine, run_id, label_set)
        assert found.statistic == 1.0
        drifted.append(found.drifted)
    assert not drifted[0]
    assert drifted[-1]
    assert found.sentence == f"100.0% of {A_NIGHT} photos are like no product that is known"
