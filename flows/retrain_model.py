"""A better model, if there is one: rung by rung before the gate, then a person's word, then in place."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from pydantic import Field

from flows.promotion import promote_and_tell
from tasks import deployed, environment, events, gate_artifact, operator_variables, run_names
from tasks.catalog import retrainings, runs, verdicts
from tasks.catalog.retrainings import FLOW, Asked, Closed, Retraining
from tasks.catalog.verdicts import APPROVAL_DAYS, Decision, Gate
from tasks.ladder import Rung
from tasks.progress import shown
from tasks.retraining import (
    Retrained,
    begin_retraining,
    best_of,
    climb_rung,
    primary_attribute,
    publish_verdict,
)
from tasks.serving import require_served
from tasks.settings import settings
from tasks.tower_rungs import forget_work


class Rungs(StrEnum):
    """What to try: the rungs from the cheapest on until one is better, or one of them alone."""

    AUTO = "auto"
    CALIBRATE = "calibrate"
    HEAD = "head"
    LORA = "lora"
    FULL = "full"


class Approval(StrEnum):
    """Who puts a better model in place."""

    AS_CONFIGURED = "as configured"
    AUTOMATIC = "automatic"
    ASK = "ask a person"


class Word(RunInput):
    """What a person says of a challenger that passed the gate."""

    approve: bool = Field(
        default=False, description="Put the new model in place. Submitted without, it is rejected for good."
    )
    reason: str = Field(default="", max_length=500, description="Kept beside the decision.")


@flow(name=FLOW, flow_run_name=run_names.retraining)
def retrain_model(
    rung: Rungs = Rungs.AUTO,
    reason: Annotated[str, Field(max_length=500)] = "asked for by hand",
    approval: Approval = Approval.AS_CONFIGURED,
    minimum_gain: Annotated[float, Field(ge=0, le=0.5)] = 0.0,
    attribute: Annotated[str | None, Field(max_length=200)] = None,
    dry_run: bool = False,
    ignore_cooldown: bool = False,
    drop: Annotated[int | None, Field(ge=1)] = None,
) -> Retrained:
    """Tries to better the champion, and puts what is proved to be better in place.

    Args:
        rung: auto is the cheapest change that helps.
        reason: why; kept in SQL.
        approval: as configured is the variable fashion_clip_approval, or FASHION_CLIP_APPROVAL.
        minimum_gain: least gain in accuracy, as a share; 0.01 is one point.
        attribute: that must gain; left out, the first one with truth in which labels are wrong.
        dry_run: make and judge; keep and promote nothing.
        ignore_cooldown: also if the last one ended just now.
        drop: the drop in accuracy that this answers; filled in by the check.
    """
    deployed.check()
    engine = environment.catalogue()
    champion = require_served(engine)
    asked = Asked(rung, primary_attribute(engine, champion, attribute), minimum_gain, reason, drop)
    with runs.recorded(engine, FLOW, f"{rung}: {reason}", flow_run.id) as run_id:
        if dry_run:
            attempt: Retraining | Closed = retrainings.preview(engine, champion.model_version, asked)
        else:
            attempt = begin_retraining(run_id, asked, ignore_cooldown, flow_run.id)
        if isinstance(attempt, Closed):
            return Retrained(attempt.outcome, attempt.told, champion.model_version, None, ())
        gates = _climb(attempt, _rungs(Rungs(attempt.asked.rung)))
        forget_work(attempt.champion)
        best = best_of(gates)
        if not best.verdict.passed or dry_run:
            return _ended(attempt, "previewed" if dry_run else "rejected", best.verdict.sentence, gates)
    if not _wants_word(approval):
        return _promoted(attempt, gates)
    said = _word(attempt, best)
    if said is None:
        told = f"{best.challenger} waits for a person: fashion-clip models approve {best.challenger}"
        return Retrained("waiting", told, attempt.champion, best.challenger, gates)
    if not said.approved:
        return _ended(attempt, "declined", f"rejected by {said.decided_by}: {said.reason}", gates)
    return _promoted(attempt, gates)


def _rungs(asked: Rungs) -> list[Rung]:
    """From the cheapest to the dearest."""
    return [rung for rung in Rung if rung in settings().rungs] if asked is Rungs.AUTO else [Rung(asked)]


def _climb(attempt: Retraining, rungs: list[Rung]) -> tuple[Gate, ...]:
    """The verdicts up to the first that is passed, or all of them.

    A new calibration and new heads take seconds: both are judged, though the first may be passed already.
    """
    gates: list[Gate] = []
    for rung in rungs:
        with shown(get_run_logger(), str(rung)) as progress:
            gate = climb_rung(attempt, rung, len(rungs), progress)
        get_run_logger().info("%s: %s", rung, gate.verdict.sentence)
        publish_verdict(gate, attempt.champion)
        gates.append(gate)
        if rung is not Rung.CALIBRATE and best_of(gates).verdict.passed:
            break
    return tuple(gates)


def _wants_word(approval: Approval) -> bool:
    if approval is Approval.AS_CONFIGURED:
        return operator_variables.approval() == "ask"
    return approval is Approval.ASK


def _word(attempt: Retraining, gate: Gate) -> Decision | None:
    """What was decided; None where nobody has yet, and nobody can through this run."""
    engine = environment.catalogue()
    assert gate.challenger is not None
    if (said := verdicts.decision(engine, gate.gate_id)) is not None:
        return said
    retrainings.wait(engine, attempt.retraining_id)
    if deployment.id is None or flow_run.parent_flow_run_id is not None:  # such a run cannot be resumed
        return None
    form = Word.with_initial_data(description=gate_artifact.markdown(gate.verdict))
    seconds = timedelta(days=APPROVAL_DAYS).total_seconds()
    # With a key of its own, the answer to another gate is none to this one.
    word = suspend_flow_run(wait_for_input=form, timeout=int(seconds), key=f"gate-{gate.gate_id}")
    return verdicts.decide(engine, gate.challenger, word.approve, "Prefect UI", word.reason)


def _promoted(attempt: Retraining, gates: tuple[Gate, ...]) -> Retrained:
    best = best_of(gates)
    challenger = best.challenger
    assert challenger is not None
    engine = environment.catalogue()
    with runs.recorded(engine, FLOW, f"promotion of {challenger}", flow_run.id) as run_id:
        retrainings.go_on(engine, attempt.retraining_id, run_id)
        promote_and_tell(challenger, best.verdict.sentence)
    return _ended(attempt, "promoted", best.verdict.sentence, gates)


def _ended(attempt: Retraining, outcome: str, told: str, gates: tuple[Gate, ...]) -> Retrained:
    if attempt.retraining_id:
        retrainings.close(environment.catalogue(), attempt.retraining_id, outcome, told)
    for gate in gates:
        if gate.challenger is not None and outcome in ("rejected", "declined"):
            events.model_rejected(gate.challenger, told)
    return Retrained(outcome, told, attempt.champion, best_of(gates).challenger, gates)
