"""Attempts to better the champion: one at a time, whoever asks for it, dies or waits."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, func, insert, select, text, update

from fashion_clip.errors import RetrainingRefusedError
from tasks.catalog import accuracy_drops
from tasks.catalog.engine import clock, one_at_a_time, outlasts_outages, reading, writing
from tasks.catalog.retraining_tables import retrainings
from tasks.catalog.tables import model_versions, runs, truths
from tasks.catalog.verdicts import APPROVAL_DAYS, GATES, version_id

FLOW = "retrain-model"


@dataclass(frozen=True)
class Asked:
    """What a retraining is to do.

    rung: of the ladder, or auto. attribute: that must gain. drop_id: the drop in accuracy that asked for it.
    """

    rung: str
    attribute: str
    minimum_gain: float
    reason: str
    drop_id: int | None = None


@dataclass(frozen=True)
class Retraining:
    """One that is under way. number: how many there were against this champion, this one included.

    A preview has the id 0: nothing of it is kept, nor counted.
    """

    retraining_id: int
    champion: str
    number: int
    asked: Asked


@dataclass(frozen=True)
class Closed:
    """One that has ended, or need not begin.

    outcome: promoted, rejected, declined by a person, expired; or answered, by another one.
    """

    outcome: str
    told: str


@outlasts_outages
def begin(
    engine: Engine,
    run_id: int,
    champion: str,
    asked: Asked,
    cooldown: timedelta | None,
    prefect_flow_run_id: str | None,
) -> Retraining | Closed:
    """Opens an attempt, or goes on with one that this flow run began or that died; or how this run's ended.

    cooldown: after a rejection; None to ask neither for rest nor for truth that is new since.

    Raises:
        RetrainingRefusedError: another one is under way or waits for approval, one ended a moment ago, or
            there is no new truth since the same was rejected.
    """
    with writing(engine) as connection:
        one_at_a_time(connection)
        now, truth_id = clock(connection), _latest_truth(connection)
        if prefect_flow_run_id is not None and (ended := _ended(connection, prefect_flow_run_id)) is not None:
            return ended
        if told := _settled(connection, asked.drop_id, champion, prefect_flow_run_id):
            return Closed("answered", told)
        if (found := _open(connection)) is not None:
            caller = _Caller(run_id, champion, asked, prefect_flow_run_id, truth_id)
            again = _taken_up(connection, found, caller, now)
            if again is not None:
                return again
        champion_id = version_id(connection, champion)
        if cooldown is not None:
            _refuse_too_soon(connection, champion_id, asked, cooldown, truth_id, now)
        number = _next_number(connection, champion_id)
        row = {
            "run_id": run_id,
            "champion_id": champion_id,
            "number": number,
            "rung": asked.rung,
            "attribute": asked.attribute,
            "minimum_gain": asked.minimum_gain,
            "reason": asked.reason,
            "drop_id": asked.drop_id,
            "truth_id": truth_id,
            "prefect_flow_run_id": prefect_flow_run_id,
            "started_at": now,
            "outcome": "running",
            "is_open": 1,
        }
        key = retrainings.c.retraining_id
        found_id = connection.execute(insert(retrainings).values(row).returning(key)).scalar_one()
        return Retraining(found_id, champion, number, asked)


@outlasts_outages
def preview(engine: Engine, champion: str, asked: Asked) -> Retraining:
    """An attempt of which nothing is kept, judged as the next one would be."""
    with reading(engine) as connection:
        return Retraining(0, champion, _next_number(connection, version_id(connection, champion)), asked)


@outlasts_outages
def latest_truth(engine: Engine) -> int:
    """The id of the truth that came last; 0 if there is none."""
    with reading(engine) as connection:
        return _latest_truth(connection)


def _latest_truth(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(truths.c.truth_id), 0))).scalar_one())


def _next_number(connection: Connection, champion_id: int) -> int:
    before = select(func.count()).where(retrainings.c.champion_id == champion_id)
    return int(connection.execute(before).scalar_one()) + 1


@dataclass(frozen=True)
class _Caller:
    run_id: int
    champion: str
    asked: Asked
    prefect_flow_run_id: str | None
    truth_id: int


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
    truth_id: int
    alive: bool


def _ended(connection: Connection, prefect_flow_run_id: str) -> Closed | None:
    """How the attempt of a flow run ended: one that starts from the top again does not begin another."""
    query = select(retrainings.c.outcome, retrainings.c.told).where(
        retrainings.c.prefect_flow_run_id == prefect_flow_run_id, retrainings.c.is_open.is_(None)
    )
    row = connection.execute(query).first()
    return None if row is None else Closed(row.outcome, row.told or "")


def _settled(
    connection: Connection, drop_id: int | None, champion: str, prefect_flow_run_id: str | None
) -> str | None:
    """Why a drop asks for no retraining any more, if it does not: told twice, or too late."""
    if drop_id is None:
        return None
    fell = accuracy_drops.champion_of(connection, drop_id)
    if fell is None:
        return f"this catalogue knows no drop {drop_id}"
    if fell != version_id(connection, champion):
        return f"the model that drop {drop_id} is of is not served any more"
    answer = accuracy_drops.answer(connection, drop_id, prefect_flow_run_id)
    return None if answer is None else f"retraining {answer} is the answer to drop {drop_id}"


def _open(connection: Connection) -> _Open | None:
    alive = (runs.c.status == "running") & (runs.c.alive_until >= clock(connection))
    names = (
        "retraining_id", "run_id", "number", "rung", "attribute", "minimum_gain", "reason", "drop_id",
        "outcome", "prefect_flow_run_id", "started_at", "truth_id",
    )  # fmt: skip
    query = (
        select(*(retrainings.c[name] for name in names), model_versions.c.version, alive.label("alive"))
        .join(model_versions, model_versions.c.model_version_id == retrainings.c.champion_id)
        .join(runs, runs.c.run_id == retrainings.c.run_id)
        .where(retrainings.c.is_open == 1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    asked = Asked(row.rung, row.attribute, row.minimum_gain, row.reason, row.drop_id)
    return _Open(
        row.retraining_id, row.run_id, row.version, row.number, asked, row.outcome, row.prefect_flow_run_id,
        row.started_at, row.truth_id, bool(row.alive),
    )  # fmt: skip


def _taken_up(connection: Connection, found: _Open, caller: _Caller, now: datetime) -> Retraining | None:
    """The open attempt, if it is this flow run's, or what a dead one left; None if it is closed now."""
    mine = caller.prefect_flow_run_id is not None and found.prefect_flow_run_id == caller.prefect_flow_run_id
    waits = found.outcome == "waiting"
    if found.champion != caller.champion and not found.alive:
        promoted = _challengers(connection, found.retraining_id) >= {caller.champion}
        told = f"model {caller.champion} is served by now"
        _close(connection, found.retraining_id, "promoted" if promoted else "expired", told, now)
        return None
    expired = now - found.started_at > timedelta(days=APPROVAL_DAYS)
    if not mine and (found.alive or (waits and not expired)):
        raise RetrainingRefusedError(
            f"retraining {found.retraining_id} waits for a person's word since {found.started_at:%Y-%m-%d}; "
            "see fashion-clip models list, then models approve or models reject"
            if waits
            else f"retraining {found.retraining_id} is under way in run {found.run_id}; wait for its end"
        )
    # Verdicts on truth of yesterday are none on today's.
    same = found.asked == caller.asked and found.truth_id == caller.truth_id and not waits
    if mine or same or _is_approved(connection, found.retraining_id):
        values = {"run_id": caller.run_id, "prefect_flow_run_id": caller.prefect_flow_run_id}
        _update(connection, found.retraining_id, **values)
        return Retraining(found.retraining_id, found.champion, found.number, found.asked)
    told = "nobody decided in time" if waits else "its process ended, and there was another reason to try"
    _close(connection, found.retraining_id, "expired", told, now)
    return None


def _is_approved(connection: Connection, retraining_id: int) -> bool:
    """Whether a person has said yes to what came of an attempt, which then only has to be put in place."""
    query = text(
        "SELECT 1 FROM decisions d JOIN gates g ON g.gate_id = d.gate_id"
        " WHERE g.retraining_id = :retraining_id AND d.approved = 1"
    )
    return connection.execute(query, {"retraining_id": retraining_id}).first() is not None


def _challengers(connection: Connection, retraining_id: int) -> set[str]:
    """The versions that passed in an attempt."""
    query = text(f"SELECT m.version FROM {GATES} WHERE g.retraining_id = :retraining_id AND g.passed = 1")
    return set(connection.execute(query, {"retraining_id": retraining_id}).scalars())


def _refuse_too_soon(
    connection: Connection,
    champion_id: int,
    asked: Asked,
    cooldown: timedelta,
    truth_id: int,
    now: datetime,
) -> None:
    rejected = (retrainings.c.champion_id == champion_id) & (retrainings.c.outcome == "rejected")
    columns = (retrainings.c.finished_at, retrainings.c.truth_id, retrainings.c.rung, retrainings.c.attribute)
    query = select(*columns).where(rejected).order_by(retrainings.c.retraining_id.desc())
    row = connection.execute(query.limit(1)).first()
    if row is None:
        return
    if now - row.finished_at < cooldown:
        raise RetrainingRefusedError(
            f"the last retraining found nothing better, {row.finished_at:%Y-%m-%d %H:%M} UTC, and the next "
            f"one may begin {row.finished_at + cooldown:%Y-%m-%d %H:%M} UTC (FASHION_CLIP_RETRAIN_"
            "COOLDOWN_HOURS); more truth is what helps: fashion-clip truth import FILE"
        )
    if (row.truth_id, row.rung, row.attribute) == (truth_id, asked.rung, asked.attribute):
        raise RetrainingRefusedError(
            f"no truth has come since the same found nothing better, {row.finished_at:%Y-%m-%d %H:%M} UTC; "
            "bring some with fashion-clip truth import FILE"
        )


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
    """Ends an attempt: promoted, rejected, or declined by a person."""
    with writing(engine) as connection:
        _close(connection, retraining_id, outcome, told, clock(connection))


@outlasts_outages
def close_of(engine: Engine, version: str, outcome: str, told: str) -> None:
    """Ends the open attempt in which a version passed, if there is one."""
    with writing(engine) as connection:
        found = _open(connection)
        if found is not None and version in _challengers(connection, found.retraining_id):
            _close(connection, found.retraining_id, outcome, told, clock(connection))


def _close(connection: Connection, retraining_id: int, outcome: str, told: str, now: datetime) -> None:
    _update(connection, retraining_id, outcome=outcome, told=told, finished_at=now, is_open=None)


def _update(connection: Connection, retraining_id: int, **values: object) -> None:
    mine = retrainings.c.retraining_id == retraining_id
    connection.execute(update(retrainings).where(mine).values(**values))
