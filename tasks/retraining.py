"""The Prefect tasks of a retraining: a rung climbed and judged, the verdict shown, the decision kept."""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from sqlalchemy import Engine

from fashion_clip.errors import UsageError
from fashion_clip.gate import Rules, error_rate
from tasks import environment, gate_artifact, ladder
from tasks.catalog import models, retrainings
from tasks.catalog.evidence import sampled_attributes
from tasks.catalog.models import LabelSet
from tasks.catalog.retrainings import Asked, Gate, Retraining
from tasks.judging import judged, register
from tasks.ladder import Challenger, Rung, Stage
from tasks.progress import Progress
from tasks.serving import load_model, require_served
from tasks.settings import settings
from tasks.tower_rungs import with_tower

KEY = "retrain-model"
SEED = 0


@dataclass(frozen=True)
class Retrained:
    """How a retraining ended: promoted, rejected, waiting for a person's word, or previewed.

    challenger: the version that passed, None if none did or nothing was kept. gates: a verdict a rung.
    """

    outcome: str
    told: str
    champion: str
    challenger: str | None
    gates: tuple[Gate, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        gates = [
            {"rung": gate.rung, "challenger": gate.challenger, **gate.verdict.as_dict()}
            for gate in self.gates
        ]
        return {**vars(self), "gates": gates}


@task(name="begin-retraining", cache_policy=NO_CACHE)
def begin_retraining(
    run_id: int, asked: Asked, ignore_cooldown: bool, prefect_flow_run_id: str | None
) -> Retraining:
    """Opens the attempt, or goes on with it.

    Raises:
        UsageError: the catalogue is empty, or has no truth of such an attribute.
        RetrainingRefusedError: another one is under way, or one ended a moment ago.
    """
    engine = environment.catalogue()
    champion = require_served(engine)
    hours = 0.0 if ignore_cooldown else settings().retrain_cooldown_hours
    cooldown = timedelta(hours=hours)
    return retrainings.begin(engine, run_id, champion.model_version, asked, cooldown, prefect_flow_run_id)


def primary_attribute(engine: Engine, label_set: LabelSet, asked: str | None) -> str:
    """The attribute that must gain: as asked, or the taxonomy's first that has truth drawn at random.

    Raises:
        UsageError: there is no such attribute, or none has such truth.
    """
    names = [attribute.name for attribute in label_set.taxonomy.attributes]
    if asked is not None and asked not in names:
        raise UsageError(f"{asked!r} is no attribute of what is served, which has {', '.join(names)}")
    told = sampled_attributes(engine, label_set)
    sampled = [name for name in names if name in told]
    if not sampled or (asked is not None and asked not in sampled):
        raise UsageError(
            f"no truth of {asked or 'any attribute'} was drawn at random, and only that may judge a model: "
            "look at the audit sample (fashion-clip export review.html --review, then fashion-clip truth "
            "import FILE), or import truth of a sample of your own, with the columns chosen and "
            "inclusion_probability"
        )
    return asked or sampled[0]


@task(name="climb-rung", cache_policy=NO_CACHE)
def climb_rung(attempt: Retraining, rung: Rung, rungs: int, progress: Progress) -> Gate:
    """Makes a rung's challenger, judges it and keeps both; one that was climbed before is not climbed again.

    An attempt without an id is a preview: nothing is kept.
    """
    engine = environment.catalogue()
    if attempt.retraining_id and (done := retrainings.gate(engine, attempt.retraining_id, rung)):
        return done
    stage = _stage(engine, attempt)
    challenger = _challenger(stage, rung, attempt, progress)
    rules = Rules(attempt.asked.attribute, attempt.asked.minimum_gain)
    verdict = judged(stage, challenger, rules, error_rate(attempt.number, rungs))
    if not attempt.retraining_id:
        return Gate(0, rung, None, verdict)
    version = register(engine, stage, challenger, SEED)
    if version == attempt.champion:
        told = (
            "rejected, because what was made is the champion itself: there is too little truth to change it"
        )
        nothing = replace(verdict, passed=False, sentence=told)
        return retrainings.record_gate(engine, attempt.retraining_id, rung, None, nothing)
    return retrainings.record_gate(engine, attempt.retraining_id, rung, version, verdict)


def _challenger(stage: Stage, rung: Rung, attempt: Retraining, progress: Progress) -> Challenger:
    match rung:
        case Rung.CALIBRATE:
            return ladder.recalibrated(stage)
        case Rung.HEAD:
            return ladder.with_heads(stage)
        case Rung.LORA | Rung.FULL:
            return with_tower(environment.catalogue(), stage, rung, SEED, progress)


def _stage(engine: Engine, attempt: Retraining) -> Stage:
    served = require_served(engine)
    if served.model_version != attempt.champion:
        raise UsageError(
            f"model {served.model_version} was promoted while {attempt.champion} was to be bettered; retrain "
            "again"
        )
    return _stage_of(engine, served.label_set_id, attempt.retraining_id)


@lru_cache(maxsize=1)
def _stage_of(engine: Engine, label_set_id: int, _retraining_id: int) -> Stage:
    """Kept for the rungs of one retraining; the next one sees the truth that came."""
    return ladder.stage(engine, load_model(models.label_set(engine, label_set_id)))


@task(name="publish-verdict", cache_policy=NO_CACHE)
def publish_verdict(gate: Gate, champion: str) -> None:
    """Writes the artifact for the Prefect UI: the verdict with its figures and a picture."""
    told = f"{gate.rung}: {gate.challenger or 'nothing kept'} against {champion}"
    create_markdown_artifact(gate_artifact.markdown(gate.verdict), key=f"{KEY}-{gate.rung}", description=told)
