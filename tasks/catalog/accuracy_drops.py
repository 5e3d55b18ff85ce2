"""Drops in accuracy: each is written once, and has to be answered by one retraining, however it is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, func, insert, select, text, true

from tasks.catalog.accuracy_tables import accuracy_checks, accuracy_drops, accuracy_readings
from tasks.catalog.engine import clock, one_at_a_time, outlasts_outages, reading, writing
from tasks.catalog.models import LabelSet
from tasks.catalog.retraining_tables import retrainings
from tasks.catalog.tables import label_sets, runs
from tasks.catalog.verdicts import APPROVAL_DAYS

if TYPE_CHECKING:
    from tasks.catalog.accuracy import AttributeReading

DROP, DRIFT = "accuracy", "photos"  # of what
AGAIN = 2  # times the truth that had counted, before what did not help is tried again


@dataclass(frozen=True)
class Drop:
    """A drop that no retraining has answered yet."""

    drop_id: int
    attribute: str
    reason: str
    accuracy: float | None
    baseline: float | None
    e_value: float | None


def record(
    connection: Connection, label_set: LabelSet, check_id: int, found: Sequence["AttributeReading"]
) -> None:
    """Writes the drops that a look found: of attributes that had none, and those that nothing helped."""
    for one in found:
        if one.status == "dropped":
            _record(connection, label_set, check_id, one.attribute, DROP, _reason(one))


@outlasts_outages
def record_drift(engine: Engine, label_set: LabelSet, check_id: int, reason: str) -> None:
    """Writes a drift of photos as a drop, unless there is one, in the attribute that has most truth."""
    with writing(engine) as connection:
        one_at_a_time(connection)
        so_far = counted(connection, label_set)
        truths = {name: so_far.get(key, (0, 0))[0] for name, key in label_set.attribute_ids.items()}
        if max(truths.values()):  # else nothing can be taught or judged
            attribute = max(truths, key=lambda name: truths[name])
            _record(connection, label_set, check_id, attribute, DRIFT, reason)


def _record(
    connection: Connection, label_set: LabelSet, check_id: int, attribute: str, kind: str, reason: str
) -> None:
    attribute_id = label_set.attribute_ids[attribute]
    truths, _ = counted(connection, label_set).get(attribute_id, (0, 0))
    mine = accuracy_drops.c.label_set_id == label_set.label_set_id
    same = mine & (accuracy_drops.c.attribute_id == attribute_id) & (accuracy_drops.c.kind == kind)
    latest = select(accuracy_drops).where(same).order_by(accuracy_drops.c.number.desc()).limit(1)
    last = connection.execute(latest).first()
    if last is not None and (truths < AGAIN * last.truths or answer(connection, last.drop_id) is None):
        return
    row = {
        "label_set_id": label_set.label_set_id,
        "number": connection.execute(select(func.count()).where(mine)).scalar_one() + 1,
        "check_id": check_id,
        "attribute_id": attribute_id,
        "kind": kind,
        "truths": truths,
        "reason": reason,
        "found_at": clock(connection),
    }
    connection.execute(insert(accuracy_drops), row)


def counted(connection: Connection, label_set: LabelSet) -> dict[int, tuple[int, int]]:
    """attribute_id -> the truths that have counted for or against a label set, and the hits."""
    columns = (accuracy_readings.c.counted, accuracy_readings.c.hits)
    query = (
        select(accuracy_readings.c.attribute_id, *(func.sum(column) for column in columns))
        .join(accuracy_checks, accuracy_checks.c.check_id == accuracy_readings.c.check_id)
        .where(accuracy_checks.c.label_set_id == label_set.label_set_id)
        .group_by(accuracy_readings.c.attribute_id)
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query)}


def _reason(worst: "AttributeReading") -> str:
    assert worst.baseline is not None
    right = "nothing" if worst.accuracy is None else f"{worst.accuracy:.1%}"
    return (
        f"{worst.attribute}: {right} of {worst.n} truths of the last 28 nights is right, and it was at least "
        f"{worst.baseline:.1%}"
    )


@outlasts_outages
def unanswered(engine: Engine, label_set: LabelSet) -> Drop | None:
    """The first drop of a label set that has yet to be answered, with what the last look told of it."""
    query = text(
        "SELECT d.drop_id, a.name, d.reason, r.accuracy, r.baseline, r.e_value FROM accuracy_drops d"
        " JOIN attributes a ON a.attribute_id = d.attribute_id"
        " JOIN accuracy_readings r ON r.attribute_id = d.attribute_id AND r.check_id = ("
        "  SELECT MAX(c.check_id) FROM accuracy_checks c WHERE c.label_set_id = d.label_set_id)"
        " WHERE d.label_set_id = :label_set_id ORDER BY d.number"
    )
    with reading(engine) as connection:
        drops = connection.execute(query, {"label_set_id": label_set.label_set_id}).all()
        return next((Drop(*row) for row in drops if answer(connection, row.drop_id) is None), None)


def answer(connection: Connection, drop_id: int, beside: str | None = None) -> int | None:
    """The retraining that has answered a drop, or is about to; None if there is none, or it died.

    beside: not that of this flow run.
    """
    now = clock(connection)
    alive = (runs.c.status == "running") & (runs.c.alive_until >= now)
    expired = retrainings.c.started_at < now - timedelta(days=APPROVAL_DAYS)
    dead = ((retrainings.c.outcome == "running") & ~alive) | ((retrainings.c.outcome == "waiting") & expired)
    other = true() if beside is None else retrainings.c.prefect_flow_run_id.is_distinct_from(beside)
    query = (
        select(retrainings.c.retraining_id)
        .join(runs, runs.c.run_id == retrainings.c.run_id)
        .where(retrainings.c.drop_id == drop_id, retrainings.c.outcome != "expired", ~dead, other)
        .order_by(retrainings.c.retraining_id.desc())
    )
    found = connection.execute(query.limit(1)).scalar()
    return None if found is None else int(found)


def champion_of(connection: Connection, drop_id: int) -> int | None:
    """The model version that a drop is of; None if there is no such drop."""
    query = (
        select(label_sets.c.model_version_id)
        .join(accuracy_drops, accuracy_drops.c.label_set_id == label_sets.c.label_set_id)
        .where(accuracy_drops.c.drop_id == drop_id)
    )
    found = connection.execute(query).scalar()
    return None if found is None else int(found)
