"""The Prefect tasks of a retraining: a rung climbed and judged, the verdict shown, the decision kept."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from sqlalchemy import Engine

from fashion_clip.errors import RetrainingRefusedError, UsageError
from fashion_clip.gate import Rules, error_rate
from fashion_clip.verdict import Kind, Verdict
from tasks import environment, gate_artifact, ladder, promotion_artifact
from tasks.catalog import accuracy_drops, label_changes, models, retrainings, verdicts
from tasks.catalog.evidence import sampled_attributes
from tasks.catalog.models import LabelSet
from tasks.catalog.retrainings import Asked, Closed, Retraining
from tasks.catalog.verdicts import Gate
from tasks.judging import errors, hopeless, judged_and_mended, register, version_of
from tasks.ladder import Challenger, Rung, Stage
from tasks.progress import Progress
from tasks.serving import load_model, require_served
from tasks.settings import settings
from tasks.tower_rungs import claimed_work, with_tower

KEY = "retrain-model"
SEED = 0
LEAST_WRONG = 0.05
TOWERS = (Rung.LORA, Rung.FULL)


@dataclass(frozen=True)
class Retrained:
    """How a retraining ended: promoted, rejected, waiting for a person's word, or previewed.

    Or not begun: answered by another one, or postponed.
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
) -> Retraining | Closed:
    """Opens the attempt, or goes on with it; or how that of this flow run ended, or why none is needed.

    One that a drop in accuracy asks for is postponed where it would be refused: the next check asks again.
    One that a person asks for answers the drop that waits, if it is of the same attribute.

    Raises:
        UsageError: the catalogue is empty, or has no truth of such an attribute.
        RetrainingRefusedError: another one is under way, one ended a moment ago, or no truth has come since.
    """
    engine = environment.catalogue()
    champion = require_served(engine)
    by_hand = asked.drop_id is None
    drop = accuracy_drops.unanswered(engine, champion) if by_hand else None
    if drop is not None and drop.attribute == asked.attribute:
        asked = replace(asked, drop_id=drop.drop_id)
    cooldown = None if ignore_cooldown else timedelta(hours=settings().retrain_cooldown_hours)
    try:
        return retrainings.begin(engine, run_id, champion.model_version, asked, cooldown, prefect_flow_run_id)
    except RetrainingRefusedError as error:
        if by_hand:
            raise
        return Closed("postponed", str(error))


def primary_attribute(engine: Engine, label_set: LabelSet, asked: str | None) -> str:
    """The attribute that must gain: as asked, or the taxonomy's first that has something to gain.

    That is one with truth drawn at random, of which the champion has more than LEAST_WRONG wrong in the parts
    that do not judge; the first with such truth if there is none.

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
    if asked is not None:
        return asked
    wrong = errors(_stage_of(engine, label_set.label_set_id, retrainings.latest_truth(engine)))
    return next((name for name in sampled if wrong.get(name, 0.0) > LEAST_WRONG), sampled[0])


@task(name="climb-rung", task_run_name="climb {rung}", cache_policy=NO_CACHE)
def climb_rung(attempt: Retraining, rung: Rung, rungs: int, progress: Progress) -> Gate:
    """Makes a rung's challenger, judges it and keeps both; what was climbed before is not climbed again."""
    engine = environment.catalogue()
    kept = attempt.retraining_id != 0  # else it is a preview
    if kept and (done := verdicts.gate(engine, attempt.retraining_id, rung)):
        return done
    version, verdict = _judged(engine, attempt, rung, rungs, progress)
    if not kept:
        return Gate(0, rung, None, verdict)
    return verdicts.record_gate(engine, attempt.retraining_id, rung, version, verdict)


def _judged(
    engine: Engine, attempt: Retraining, rung: Rung, rungs: int, progress: Progress
) -> tuple[str | None, Verdict]:
    """The version of a rung's challenger, None if there is none or it is not kept; and the verdict."""
    stage = _stage(engine, attempt)
    rules = Rules(attempt.asked.attribute, attempt.asked.minimum_gain)
    level = error_rate(attempt.number, rungs)
    if rung in TOWERS and (verdict := hopeless(stage, rules, level)) is not None:
        return None, verdict
    if rung in TOWERS and not (len(stage.parts.training) and len(stage.parts.validation)):
        return None, _rejected("there is too little truth to teach towers and to tell when to stop", level)
    with claimed_work(stage, rung) if rung in TOWERS else nullcontext() as work:
        challenger = _challenger(engine, stage, rung, work, progress)
        challenger, verdict = judged_and_mended(stage, challenger, rules, level)
        version = version_of(stage, challenger)
        if version == attempt.champion:
            told = "it is the champion itself: there is too little truth to change anything"
            return None, _rejected(told, level)
        if (no := verdicts.refusal(engine, version)) is not None:
            told = f"{no.decided_by} rejected this very model {no.decided_at:%Y-%m-%d}: {no.reason!r}"
            verdict = replace(verdict, passed=False, sentence=f"rejected, because {told}")
        if attempt.retraining_id:
            register(engine, stage, challenger, SEED, keep=verdict.passed)
        return version, verdict


def _rejected(why: str, level: float) -> Verdict:
    return Verdict(False, f"rejected, because {why}", level, ())


def _challenger(
    engine: Engine, stage: Stage, rung: Rung, work: Path | None, progress: Progress
) -> Challenger:
    if work is not None:
        return with_tower(engine, stage, rung, SEED, work, progress)
    return ladder.recalibrated(stage) if rung is Rung.CALIBRATE else ladder.with_heads(stage)


def _stage(engine: Engine, attempt: Retraining) -> Stage:
    served = require_served(engine)
    if served.model_version != attempt.champion:
        raise UsageError(
            f"model {served.model_version} was promoted while {attempt.champion} was to be bettered; retrain "
            "again"
        )
    return _stage_of(engine, served.label_set_id, retrainings.latest_truth(engine))


@lru_cache(maxsize=1)
def _stage_of(engine: Engine, label_set_id: int, _truth_id: int) -> Stage:
    """Kept for the rungs of one retraining, until other truth comes."""
    return ladder.stage(engine, load_model(models.label_set(engine, label_set_id)))


def best_of(gates: Sequence[Gate]) -> Gate:
    """The one that is passed with the greatest gain; the last one, if none is."""
    passed = [gate for gate in gates if gate.verdict.passed]
    return max(passed, key=lambda gate: gate.verdict.of(Kind.GAIN)[0].difference, default=gates[-1])


@task(name="publish-verdict", cache_policy=NO_CACHE)
def publish_verdict(gate: Gate, champion: str) -> None:
    """Writes the artifact for the Prefect UI: the verdict with its figures and a picture."""
    told = f"{gate.rung}: {gate.challenger or 'nothing kept'} against {champion}"
    create_markdown_artifact(gate_artifact.markdown(gate.verdict), key=f"{KEY}-{gate.rung}", description=told)


@task(name="publish-promotion", cache_policy=NO_CACHE)
def publish_promotion(before: LabelSet, why: str) -> None:
    """Writes the artifact for the Prefect UI: which labels changed when another model was put in place."""
    engine = environment.catalogue()
    now = require_served(engine)
    changes = label_changes.between(engine, before, now)
    text = promotion_artifact.markdown(before.model_version, now.model_version, why, changes)
    create_markdown_artifact(text, key="promotion", description=f"model {now.model_version}")
