"""Attempts to better the champion: one at a time, with a verdict a rung, and what a person decided."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, func, insert, select, text, update

from fashion_clip.errors import RetrainingRefusedError, UsageError
from fashion_clip.verdict import Verdict, parse_verdict
from tasks.catalog.engine import clock, one_at_a_time, outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.retraining_tables import decisions, gates, retrainings
from tasks.catalog.tables import model_versions, runs

FLOW = "retrain-model"
APPROVAL_DAYS = 14  # that a challenger waits for a person's word


@dataclass(frozen=True)
class Asked:
    """What a retraining is to do. rung: of the ladder, or auto. attribute: that must gain."""

    rung: str
    attribute: str
    minimum_gain: float
    reason: str


@dataclass(frozen=True)
class Retraining:
    """One that is under way. number: how many there were against this champion, this one included."""

    retraining_id: int
    champion: str
    number: int
    asked: Asked


@dataclass(frozen=True)
class Gate:
    """The verdict on a rung's challenger. challenger: its version, None where none could be made."""

    gate_id: int
    rung: str
    challenger: str | None
    verdict: Verdict


@dataclass(frozen=True)
class Decision:
    """What a person said of a challenger."""

    approved: bool
    decided_by: str
    reason: str
    decided_at: datetime


@outlasts_outages
def begin(
    engine: Engine,
    run_id: int,
    champion: str,
    asked: Asked,
    cooldown: timedelta,
    prefect_flow_run_id: str | None,
) -> Retraining:
    """Opens an attempt, or goes on with one that this flow run began, or that died.

    Raises:
        RetrainingRefusedError: another one is under way or waits for approval, or one ended a moment ago.
    """
    with writing(engine) as connection:
        one_at_a_time(connection)
        now = clock(connection)
        if (found := _open(connection)) is not None:
            again = _taken_up(connection, found, run_id, champion, asked, prefect_flow_run_id, now)
            if again is not None:
                return again
        _refuse_if_hot(connection, champion, cooldown, now)
        champion_id = _version_id(connection, champion)
        before = select(func.count()).where(retrainings.c.champion_id == champion_id)
        number = int(connection.execute(before).scalar_one()) + 1
        row = {
            "run_id": run_id,
            "champion_id": champion_id,
            "number": number,
            "rung": asked.rung,
            "attribute": asked.attribute,
            "minimum_gain": asked.minimum_gain,
            "reason": asked.reason,
            "prefect_flow_run_id": prefect_flow_run_id,
            "started_at": now,
            "outcome": "running",
            "is_open": 1,
        }
        key = retrainings.c.retraining_id
        found_id = connection.execute(insert(retrainings).values(row).returning(key)).scalar_one()
        return Retraining(found_id, champion, number, asked)


@dataclass(frozen=True)
class _Open:
    retraining_id: int
    run_id: int
    champion: str
    number: int
    asked: Asked
    outcome: str
    prefect_flow_run_id: str | None
    started_at: datetime
    alive: bool


def _open(connection: Connection) -> _Open | None:
    alive = (runs.c.status == "running") & (runs.c.alive_until >= clock(connection))
    query = (
        select(
            *(retrainings.c[name] for name in ("retraining_id", "run_id", "number", "rung", "attribute")),
            *(retrainings.c[name] for name in ("minimum_gain", "reason", "outcome", "started_at")),
            retrainings.c.prefect_flow_run_id,
            model_versions.c.version,
            alive.label("alive"),
        )
        .join(model_versions, model_versions.c.model_version_id == retrainings.c.champion_id)
        .join(runs, runs.c.run_id == retrainings.c.run_id)
        .where(retrainings.c.is_open == 1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    asked = Asked(row.rung, row.attribute, row.minimum_gain, row.reason)
    return _Open(
        row.retraining_id, row.run_id, row.version, row.number, asked, row.outcome, row.prefect_flow_run_id,
        row.started_at, bool(row.alive),
    )  # fmt: skip


def _taken_up(
    connection: Connection,
    found: _Open,
    run_id: int,
    champion: str,
    asked: Asked,
    prefect_flow_run_id: str | None,
    now: datetime,
) -> Retraining | None:
    """The open attempt, if it is this flow run's, or what a dead one left; None if it is closed now."""
    mine = prefect_flow_run_id is not None and found.prefect_flow_run_id == prefect_flow_run_id
    waits = found.outcome == "waiting"
    expired = now - found.started_at > timedelta(days=APPROVAL_DAYS)
    if not mine and (found.alive or (waits and not expired)):
        raise RetrainingRefusedError(
            f"retraining {found.retraining_id} waits for a person's word since {found.started_at:%Y-%m-%d}; "
            "see fashion-clip models list, then models approve or models reject"
            if waits
            else f"retraining {found.retraining_id} is under way in run {found.run_id}; wait for its end"
        )
    if found.champion == champion and (mine or (found.asked == asked and not waits)):
        values = {"run_id": run_id, "prefect_flow_run_id": prefect_flow_run_id}
        _update(connection, found.retraining_id, **values)
        return Retraining(found.retraining_id, champion, found.number, found.asked)
    told = "nobody decided in time" if waits else "its process ended, and something else was asked for"
    _update(connection, found.retraining_id, outcome="expired", told=told, finished_at=now, is_open=None)
    return None


def _refuse_if_hot(connection: Connection, champion: str, cooldown: timedelta, now: datetime) -> None:
    query = (
        select(func.max(retrainings.c.finished_at, type_=retrainings.c.finished_at.type))
        .join(model_versions, model_versions.c.model_version_id == retrainings.c.champion_id)
        .where(model_versions.c.version == champion, retrainings.c.outcome == "rejected")
    )
    last = connection.execute(query).scalar()
    if last is not None and now - last < cooldown:
        raise RetrainingRefusedError(
            f"the last retraining found nothing better, {last:%Y-%m-%d %H:%M} UTC, and the next one may "
            f"begin {last + cooldown:%Y-%m-%d %H:%M} UTC (FASHION_CLIP_RETRAIN_COOLDOWN_HOURS); more "
            "truth is what helps: fashion-clip truth import FILE"
        )


@outlasts_outages
def gate(engine: Engine, retraining_id: int, rung: str) -> Gate | None:
    """The verdict of a rung that was climbed already."""
    query = text(f"{_GATE} WHERE g.retraining_id = :retraining_id AND g.rung = :rung")
    with reading(engine) as connection:
        row = connection.execute(query, {"retraining_id": retraining_id, "rung": rung}).first()
    return None if row is None else Gate(row[0], row[1], row[2], parse_verdict(json.loads(row[3])))


_GATE = (
    "SELECT g.gate_id, g.rung, m.version, g.document FROM gates g"
    " LEFT JOIN model_versions m ON m.model_version_id = g.challenger_id"
)


@outlasts_outages
def record_gate(
    engine: Engine, retraining_id: int, rung: str, challenger: str | None, verdict: Verdict
) -> Gate:
    """Writes a verdict, once: a rung that has one keeps it."""
    with writing(engine) as connection:
        row = {
            "retraining_id": retraining_id,
            "rung": rung,
            "challenger_id": None if challenger is None else _version_id(connection, challenger),
            "level": verdict.level,
            "passed": int(verdict.passed),
            "sentence": verdict.sentence,
            "document": json.dumps(verdict.as_dict(), ensure_ascii=False, allow_nan=False),
            "judged_at": clock(connection),
        }
        insert_or_nothing(connection, gates, [row])
    found = gate(engine, retraining_id, rung)
    assert found is not None
    return found


@outlasts_outages
def wait(engine: Engine, retraining_id: int) -> None:
    """From now on a person has to decide."""
    with writing(engine) as connection:
        _update(connection, retraining_id, outcome="waiting")


@outlasts_outages
def go_on(engine: Engine, retraining_id: int, run_id: int) -> None:
    """From now on that run is what carries it out."""
    with writing(engine) as connection:
        _update(connection, retraining_id, run_id=run_id, outcome="running")


@outlasts_outages
def close(engine: Engine, retraining_id: int, outcome: str, told: str) -> None:
    """Ends an attempt: promoted, rejected, or previewed."""
    with writing(engine) as connection:
        finished = {"finished_at": clock(connection), "is_open": None}
        _update(connection, retraining_id, outcome=outcome, told=told, **finished)


@outlasts_outages
def decide(engine: Engine, version: str, approved: bool, decided_by: str, reason: str) -> Decision:
    """Writes what a person says of a challenger, once and for all; returns what was said first.

    Raises:
        UsageError: the version was never judged.
    """
    query = text(f"{_GATE} WHERE m.version = :version ORDER BY g.gate_id DESC LIMIT 1")
    with writing(engine) as connection:
        row = connection.execute(query, {"version": version}).first()
        if row is None:
            raise UsageError(
                f"model {version} never met a gate, so there is nothing to decide; put it in place with "
                f"fashion-clip models promote {version}"
            )
        said = {
            "gate_id": row.gate_id,
            "approved": int(approved),
            "decided_by": decided_by,
            "reason": reason,
            "decided_at": clock(connection),
        }
        insert_or_nothing(connection, decisions, [said])
    found = decision(engine, version)
    assert found is not None
    return found


@outlasts_outages
def decision(engine: Engine, version: str) -> Decision | None:
    """What was said of a version's latest verdict; None if nothing was."""
    query = (
        select(decisions.c.approved, decisions.c.decided_by, decisions.c.reason, decisions.c.decided_at)
        .join(gates, gates.c.gate_id == decisions.c.gate_id)
        .join(model_versions, model_versions.c.model_version_id == gates.c.challenger_id)
        .where(model_versions.c.version == version)
        .order_by(gates.c.gate_id.desc())
    )
    with reading(engine) as connection:
        row = connection.execute(query).first()
    return None if row is None else Decision(bool(row[0]), *row[1:])


@outlasts_outages
def waiting(engine: Engine) -> tuple[Retraining, Gate] | None:
    """The attempt that waits for a person's word, and the gate that its challenger passed."""
    query = text(f"{_GATE} WHERE g.retraining_id = :retraining_id AND g.passed = 1")
    with reading(engine) as connection:
        found = _open(connection)
        if found is None or found.outcome != "waiting":
            return None
        row = connection.execute(query, {"retraining_id": found.retraining_id}).one()
    attempt = Retraining(found.retraining_id, found.champion, found.number, found.asked)
    return attempt, Gate(row[0], row[1], row[2], parse_verdict(json.loads(row[3])))


def _version_id(connection: Connection, version: str) -> int:
    query = select(model_versions.c.model_version_id).where(model_versions.c.version == version)
    return int(connection.execute(query).scalar_one())


def _update(connection: Connection, retraining_id: int, **values: object) -> None:
    mine = retrainings.c.retraining_id == retraining_id
    connection.execute(update(retrainings).where(mine).values(**values))
