"""The Prefect tasks of the check: what truth says of the champion, and what can be guessed without."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from fashion_clip.accuracy_alarm import Status
from tasks import check_artifact, environment
from tasks.catalog import accuracy, accuracy_drops, drifts, estimates, models
from tasks.catalog.accuracy import AttributeReading, Check, Rules
from tasks.catalog.accuracy_drops import Drop
from tasks.catalog.drifts import Drift
from tasks.catalog.estimates import Estimate
from tasks.settings import settings

KEY = "accuracy"


@dataclass(frozen=True)
class Checked:
    """What a check told. fresh: False where the last one was only a moment ago, and stands.

    drop: that has yet to be answered. drifted: how photos have changed, if they have.
    """

    model_version: str
    checked_at: datetime
    fresh: bool
    readings: tuple[AttributeReading, ...]
    drop: Drop | None
    drifted: tuple[Drift, ...]

    @property
    def dropped(self) -> bool:
        """Whether an attribute has fallen."""
        return any(one.status == Status.DROPPED for one in self.readings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without the states of the alarms."""
        readings = [
            {name: value for name, value in vars(one).items() if name != "state"} for one in self.readings
        ]
        drop = None if self.drop is None else asdict(self.drop)
        drifted = [asdict(drift) for drift in self.drifted]
        return {**vars(self), "readings": readings, "drop": drop, "drifted": drifted}


@task(name="guess-accuracy", cache_policy=NO_CACHE)
def guess_accuracy(run_id: int, label_set_id: int) -> list[Estimate]:
    """Writes what a run's labels should be worth by their confidences, where these are calibrated."""
    engine = environment.catalogue()
    return estimates.record(engine, run_id, models.label_set(engine, label_set_id))


@task(name="look-for-drift", cache_policy=NO_CACHE)
def look_for_drift(run_id: int, label_set_id: int) -> list[Drift]:
    """Compares the photos since the last look with those that the champion knew, and writes what is found."""
    engine, apart = environment.catalogue(), timedelta(hours=settings().check_hours)
    return drifts.look(engine, run_id, models.label_set(engine, label_set_id), apart)


@task(name="check-accuracy", cache_policy=NO_CACHE)
def look_at_truth(run_id: int, label_set_id: int) -> Check:
    """Counts the truth that has come since the last check, and writes what it tells."""
    engine, chosen = environment.catalogue(), settings()
    rules = Rules(chosen.baseline_truths, timedelta(hours=chosen.check_hours))
    return accuracy.look(engine, run_id, models.label_set(engine, label_set_id), rules)


@task(name="publish-check", cache_policy=NO_CACHE)
def publish_check(label_set_id: int, guessed: list[Estimate], drop: Drop | None, told: list[str]) -> None:
    """Writes the artifact for the Prefect UI: the last looks at what is served, and what else is told."""
    engine = environment.catalogue()
    label_set = models.label_set(engine, label_set_id)
    looks = accuracy.history(engine, label_set, check_artifact.SHOWN)
    text = check_artifact.markdown(looks, guessed, drop, told, len(label_set.attribute_ids))
    create_markdown_artifact(text, key=KEY, description=f"model {label_set.model_version}")


def unanswered_drop(label_set_id: int, check_id: int, drifted: list[Drift]) -> Drop | None:
    """The drop of a label set that a retraining has yet to answer.

    Drift of photos is one where FASHION_CLIP_RETRAIN_ON_DRIFT says so.
    """
    engine = environment.catalogue()
    label_set = models.label_set(engine, label_set_id)
    if drifted and settings().retrain_on_drift:
        accuracy_drops.record_drift(engine, label_set, check_id, drifted[0].sentence)
    return accuracy_drops.unanswered(engine, label_set)
