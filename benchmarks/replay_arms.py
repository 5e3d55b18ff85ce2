"""One way to run a catalogue, night after night, with the flows as a user runs them."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from benchmarks.replay_nights import (
    Night,
    Photo,
    labels_in,
    lacking,
    put,
    taxonomy_of,
    write_taxonomy,
    write_truth,
)
from tasks.catalog import schema
from tasks.catalog.engine import connect, reading
from tasks.catalog.tables import UtcDateTime

BASELINE = 200  # truths of the first night
ENOUGH_OF_A_LABEL = 5  # truths, for an operator to add it


@dataclass(frozen=True)
class Arm:
    """How the catalogue is run.

    retrain: FASHION_CLIP_RETRAIN. monthly: a retraining at the end of each month, whatever accuracy is.
    new_labels: an operator adds the labels that have truth, month by month, and learns heads then.
    """

    name: str
    retrain: str
    monthly: bool = False
    new_labels: bool = False


@dataclass(frozen=True)
class Counted:
    """An attribute on all photos of a night with truth: how many are right.

    known: those whose true label the catalogue began with. guessed: the accuracy that was estimated, None
    where confidences were not calibrated. sampled, sampled_hits: of the audit sample.
    """

    n: int
    hits: int
    known: int
    known_hits: int
    guessed: float | None
    sampled: int
    sampled_hits: int


@dataclass(frozen=True)
class Told:
    """A night of an arm. events: alarm, retraining, promotion, rollback, labels. seconds: of the whole night.

    retrained: how the retrainings ended, with the rung that was promoted. retraining_seconds: of them.
    """

    year: int
    month: int
    photos: int
    truths: int
    attributes: Mapping[str, Counted]
    events: tuple[str, ...]
    retrained: tuple[str, ...]
    seconds: float
    retraining_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `told_of` reads it back."""
        return asdict(self)


def told_of(document: Mapping[str, Any]) -> Told:
    """What `as_dict` made."""
    attributes = {name: Counted(**counts) for name, counts in document["attributes"].items()}
    lists = {name: tuple(document[name]) for name in ("events", "retrained")}
    return Told(**{**document, "attributes": attributes, **lists})


@dataclass(frozen=True)
class Stage:
    """What the arms begin with: a folder of photos, and a catalogue in which these are tagged and sampled."""

    work: Path
    model: str
    first: tuple[Photo, ...]

    @property
    def folder(self) -> Path:
        """Of the photos."""
        return self.work / "photos"

    @property
    def database(self) -> Path:
        """The catalogue after the first night."""
        return self.work / "first.db"


def first_night(work: Path, model: Path, photos: Sequence[Photo]) -> Stage:
    """Tags what the catalogue begins with, and asks for the truth of a sample."""
    from flows.nightly_tagging import nightly_tagging
    from tasks import environment

    stage = Stage(work, str(model), tuple(photos))
    stage.folder.mkdir(parents=True)
    put(stage.folder, photos)
    taxonomy = write_taxonomy(taxonomy_of(labels_in(photos)), work / "first.toml")
    with _variables(stage.database, work / "models", "never", BASELINE):
        engine = connect(f"sqlite:///{stage.database}")
        schema.upgrade(engine)
        run = nightly_tagging(str(stage.folder), model=stage.model, taxonomy=str(taxonomy))
        _answer(engine, run.run_id, work, {photo.name: photo for photo in photos})
        engine.dispose()
        environment.catalogue().dispose()
    return stage


def play(stage: Stage, arm: Arm, nights: Sequence[Night], audited: int) -> Iterator[Told]:
    """The nights of an arm, in a copy of the catalogue; so many photos of each get truth."""
    name = arm.name.replace(" ", "-")
    database, models = stage.work / f"{name}.db", stage.work / f"models-{name}"
    shutil.copy(stage.database, database)
    engine = connect(f"sqlite:///{database}")
    known = labels_in(stage.first)
    played: list[Photo] = []
    try:
        with _variables(database, models, arm.retrain, audited):
            operator = _Operator(stage, arm, engine)
            for night in nights:
                put(stage.folder, night.photos)
                played += night.photos
                yield _night(stage, operator, night, known)
    finally:
        engine.dispose()
        for photo in played:
            (stage.folder / photo.name).unlink()


@contextmanager
def _variables(database: Path, models: Path, retrain: str, audited: int) -> Iterator[None]:
    values = {
        "DATABASE_URL": f"sqlite:///{database}",
        "MODELS_DIR": str(models),
        "RETRAIN": retrain,
        "RUNGS": '["calibrate", "head"]',
        "APPROVAL": "automatic",
        "CHECK_HOURS": "0",
        "RETRAIN_COOLDOWN_HOURS": "0",
        "AUDIT_PHOTOS": str(audited),
    }
    before = {name: value for name, value in os.environ.items() if name.startswith("FASHION_CLIP_")}
    try:
        for name in before:
            del os.environ[name]
        os.environ.update({f"FASHION_CLIP_{name}": value for name, value in values.items()})
        yield
    finally:
        for name in values:
            del os.environ[f"FASHION_CLIP_{name}"]
        os.environ.update(before)


class _Operator:
    """What is done besides the nights: truth is told, months end, labels are added."""

    def __init__(self, stage: Stage, arm: Arm, engine: Engine):
        self.arm, self.engine = arm, engine
        self._work = stage.work
        self._known = labels_in(stage.first)
        self._told: list[Photo] = []

    def tell(self, run_id: int, photos: Mapping[str, Photo]) -> list[Photo]:
        told = _answer(self.engine, run_id, self._work, photos)
        self._told += told
        return told

    def end_month(self) -> bool:
        """Whether labels were added."""
        from flows.relabel_catalog import relabel_catalog
        from flows.retrain_model import Rungs, retrain_model

        if self.arm.monthly:
            retrain_model(Rungs.HEAD, reason="a month has passed", ignore_cooldown=True)
        if not self.arm.new_labels:
            return False
        new = lacking(self._told, taxonomy_of(self._known), ENOUGH_OF_A_LABEL)
        if not new:
            return False
        for attribute, labels in new.items():
            self._known[attribute] |= labels
        count = sum(map(len, self._known.values()))
        file = write_taxonomy(taxonomy_of(self._known), self._work / f"labels-{count}.toml")
        relabel_catalog(str(file))
        most = max(new, key=lambda attribute: len(new[attribute]))
        retrain_model(Rungs.HEAD, reason="labels were added", attribute=most, ignore_cooldown=True)
        return True


def _answer(engine: Engine, run_id: int, work: Path, photos: Mapping[str, Photo]) -> list[Photo]:
    """The audit sample of a run gets its truth; returns its photos."""
    from tasks.truth import import_truth

    sampled = _rows(
        engine,
        "SELECT p.uri FROM audit_samples a JOIN photos p ON p.photo_id = a.photo_id WHERE a.run_id = :run_id",
        run_id=run_id,
    )
    told = [photos[uri.rsplit("/", 1)[-1]] for (uri,) in sampled]
    if told:
        done = import_truth(engine, write_truth(work / "truth.csv", told), "a reviewer", True, False)
        assert not done.refused, done.problems
    return told


def _night(stage: Stage, operator: _Operator, night: Night, known: Mapping[str, set[str]]) -> Told:
    from flows.nightly_tagging import nightly_tagging
    from tasks.serving import require_served

    engine = operator.engine
    began, before, drops = time.perf_counter(), _last_of_each(engine), _drops(engine)
    label_set_id = require_served(engine).label_set_id
    run = nightly_tagging(str(stage.folder))
    assert run.tagged == len(night.photos), f"{run.tagged} of {len(night.photos)} photos were tagged"
    photos = {photo.name: photo for photo in night.photos}
    told = operator.tell(run.run_id, photos)
    added = operator.end_month() if night.closes else False
    after = _last_of_each(engine)
    retrained, seconds = _retrainings(engine, before["retrainings"])
    events = ["alarm"] * (_drops(engine) - drops) + ["retraining"] * len(retrained)
    events += ["promotion"] * sum("promoted" in one for one in retrained)
    events += ["rollback"] * (after["rollbacks"] - before["rollbacks"]) + ["labels"] * added
    labels = _labels(engine, run.run_id, label_set_id)
    guesses = _guesses(engine, run.run_id)
    counted = {
        attribute: _counted(photos, told, attribute, labels[attribute], known, guesses.get(attribute))
        for attribute in labels
    }
    return Told(
        night.year, night.month, len(night.photos), len(told), counted, tuple(events), tuple(retrained),
        time.perf_counter() - began, seconds,
    )  # fmt: skip


def _counted(
    photos: Mapping[str, Photo],
    told: Sequence[Photo],
    attribute: str,
    said: Mapping[str, str],
    known: Mapping[str, set[str]],
    guessed: float | None,
) -> Counted:
    right = {
        name: said[name] == photo.truth[attribute]
        for name, photo in photos.items()
        if attribute in photo.truth
    }
    old = {name for name in right if photos[name].truth[attribute] in known[attribute]}
    sample = [photo.name for photo in told if photo.name in right]
    return Counted(
        len(right), sum(right.values()), len(old), sum(right[name] for name in old), guessed,
        len(sample), sum(right[name] for name in sample),
    )  # fmt: skip


def _labels(engine: Engine, run_id: int, label_set_id: int) -> dict[str, dict[str, str]]:
    """Attribute -> file name -> the label that the run gave, whatever is served by now."""
    found: dict[str, dict[str, str]] = {}
    query = (
        "SELECT a.name, p.uri, n.name FROM shards h JOIN photos p ON p.shard_id = h.shard_id"
        " JOIN labels l ON l.content_id = p.content_id AND l.label_set_id = :label_set_id"
        " JOIN attributes a ON a.attribute_id = l.attribute_id"
        " JOIN label_names n ON n.label_id = l.label_1 WHERE h.run_id = :run_id"
    )
    for attribute, uri, label in _rows(engine, query, run_id=run_id, label_set_id=label_set_id):
        found.setdefault(attribute, {})[uri.rsplit("/", 1)[-1]] = label
    return found


def _guesses(engine: Engine, run_id: int) -> dict[str, float]:
    query = "SELECT attribute, estimated_accuracy FROM estimate_history WHERE run_id = :run_id"
    return dict(_rows(engine, query, run_id=run_id))


def _retrainings(engine: Engine, after: int) -> tuple[list[str], float]:
    """How those after an id ended, and the seconds that they took."""
    query = (
        "SELECT t.outcome, t.started_at, t.finished_at,"
        " (SELECT MAX(g.rung) FROM gates g WHERE g.retraining_id = t.retraining_id AND g.passed = 1) AS rung,"
        " t.attribute FROM retrainings t WHERE t.retraining_id > :after ORDER BY t.retraining_id"
    )
    typed = text(query).columns(started_at=UtcDateTime(), finished_at=UtcDateTime())
    with reading(engine) as connection:
        rows = connection.execute(typed, {"after": after}).all()
    told = [f"{row.outcome} {row.rung or ''} {row.attribute}".replace("  ", " ") for row in rows]
    return told, sum((row.finished_at - row.started_at).total_seconds() for row in rows)


def _last_of_each(engine: Engine) -> dict[str, int]:
    [(retraining,)] = _rows(engine, "SELECT COALESCE(MAX(retraining_id), 0) FROM retrainings")
    [(rollbacks,)] = _rows(engine, "SELECT COUNT(*) FROM close_watches WHERE outcome = 'rolled_back'")
    return {"retrainings": retraining, "rollbacks": rollbacks}


def _drops(engine: Engine) -> int:
    [(drops,)] = _rows(engine, "SELECT COUNT(*) FROM accuracy_drops")
    return int(drops)


def _rows(engine: Engine, query: str, **values: object) -> list[tuple[Any, ...]]:
    with reading(engine) as connection:
        return [tuple(row) for row in connection.execute(text(query), values)]
