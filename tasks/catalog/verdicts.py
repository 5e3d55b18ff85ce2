"""The verdict on each rung of a retraining, and what a person says of the challenger that passed."""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, func, select, text

from fashion_clip.close_watch import LEVEL
from fashion_clip.errors import UsageError
from fashion_clip.verdict import Verdict, parse_verdict
from tasks.catalog.close_watch_tables import close_watches
from tasks.catalog.engine import clock, outlasts_outages, reading, writing
from tasks.catalog.inserts import insert_or_nothing
from tasks.catalog.retraining_tables import decisions, gates
from tasks.catalog.tables import label_sets, model_versions, served_label_set

APPROVAL_DAYS = 14  # that a challenger waits for a person's word


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
def gate(engine: Engine, retraining_id: int, rung: str) -> Gate | None:
    """The verdict of a rung that was climbed already."""
    query = text(f"{_GATE} WHERE g.retraining_id = :retraining_id AND g.rung = :rung")
    with reading(engine) as connection:
        row = connection.execute(query, {"retraining_id": retraining_id, "rung": rung}).first()
    return None if row is None else Gate(row[0], row[1], row[2], parse_verdict(json.loads(row[3])))


GATES = "gates g LEFT JOIN model_versions m ON m.model_version_id = g.challenger_id"
_GATE = f"SELECT g.gate_id, g.rung, m.version, g.document FROM {GATES}"


@outlasts_outages
def record_gate(
    engine: Engine, retraining_id: int, rung: str, challenger: str | None, verdict: Verdict
) -> Gate:
    """Writes a verdict, once: a rung that has one keeps it."""
    with writing(engine) as connection:
        row = {
            "retraining_id": retraining_id,
            "rung": rung,
            "challenger_id": None if challenger is None else version_id(connection, challenger),
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
def decide(engine: Engine, version: str, approved: bool, decided_by: str, reason: str) -> Decision:
    """Writes what a person says of a challenger, once and for all; returns what was said first.

    Raises:
        UsageError: the version passed no gate, or not against the model that is served.
    """
    passed = text(
        f"SELECT g.gate_id, t.champion_id FROM {GATES} JOIN retrainings t"
        " ON t.retraining_id = g.retraining_id"
        " WHERE m.version = :version AND g.passed = 1 ORDER BY g.gate_id DESC LIMIT 1"
    )
    with writing(engine) as connection:
        row = connection.execute(passed, {"version": version}).first()
        if row is None or row.champion_id != _served_version_id(connection):
            against = "was proved against a model that is served no more"
            why = "passed no gate" if row is None else against
            raise UsageError(
                f"model {version} {why}, so there is nothing to decide; whatever was proved, fashion-clip "
                f"models promote {version} puts it in place"
            )
        said = {
            "gate_id": row.gate_id,
            "approved": int(approved),
            "decided_by": decided_by,
            "reason": reason,
            "decided_at": clock(connection),
        }
        insert_or_nothing(connection, decisions, [said])
    found = decision(engine, row.gate_id)
    assert found is not None
    return found


@outlasts_outages
def decision(engine: Engine, gate_id: int) -> Decision | None:
    """What was said of the challenger that passed a gate; None if nothing was."""
    columns = (decisions.c.approved, decisions.c.decided_by, decisions.c.reason, decisions.c.decided_at)
    with reading(engine) as connection:
        row = connection.execute(select(*columns).where(decisions.c.gate_id == gate_id)).first()
    return None if row is None else Decision(bool(row[0]), *row[1:])


@outlasts_outages
def refusal(engine: Engine, version: str) -> Decision | None:
    """The last no to this very version, of a person or else of the close watch; None if there is none."""
    query = text(
        "SELECT d.gate_id FROM decisions d JOIN gates g ON g.gate_id = d.gate_id"
        " JOIN model_versions m ON m.model_version_id = g.challenger_id"
        " WHERE m.version = :version AND d.approved = 0 ORDER BY d.gate_id DESC LIMIT 1"
    )
    with reading(engine) as connection:
        gate_id = connection.execute(query, {"version": version}).scalar()
        if gate_id is None:
            return _taken_back(connection, version)
    return decision(engine, gate_id)


def _taken_back(connection: Connection, version: str) -> Decision | None:
    """Whatever became of a watch: a version that it has shown to be worse is worse."""
    at = func.coalesce(close_watches.c.finished_at, close_watches.c.looked_at)
    query = (
        select(close_watches.c.told, at.label("at"))
        .join(model_versions, model_versions.c.model_version_id == close_watches.c.champion_id)
        .where(model_versions.c.version == version, close_watches.c.e_value * LEVEL >= 1)
        .order_by(close_watches.c.close_watch_id.desc())
    )
    row = connection.execute(query.limit(1)).first()
    if row is None:
        return None
    return Decision(False, "the close watch", row.told or "worse than the model that it replaced", row.at)


def version_id(connection: Connection, version: str) -> int:
    query = select(model_versions.c.model_version_id).where(model_versions.c.version == version)
    return int(connection.execute(query).scalar_one())


def _served_version_id(connection: Connection) -> int | None:
    query = select(label_sets.c.model_version_id).join(
        served_label_set, served_label_set.c.label_set_id == label_sets.c.label_set_id
    )
    return connection.execute(query).scalar()
