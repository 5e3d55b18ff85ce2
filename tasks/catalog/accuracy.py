"""Looks at what the champion said, night by night: each counts the truth that came, once, and may alarm."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, select

from fashion_clip.accuracy_alarm import Alarm, Night, Status, after, baseline_bound, begin, held_to
from fashion_clip.intervals import exact_interval
from tasks.catalog import accuracy_drops
from tasks.catalog.accuracy_tables import accuracy_checks, accuracy_readings
from tasks.catalog.arrived_truth import Arrived, arrived
from tasks.catalog.engine import clock, one_at_a_time, outlasts_outages, reading, writing
from tasks.catalog.models import LabelSet
from tasks.catalog.tables import truths

WAITING = "waiting"  # for a baseline
MOST_BASELINE = 2_000  # truths: a bound is then 1.2 points below


@dataclass(frozen=True)
class Rules:
    """baseline: truths of an attribute that its baseline is made of. apart: of two looks, at least."""

    baseline: int
    apart: timedelta


@dataclass(frozen=True)
class AttributeReading:
    """What a look told of an attribute.

    counted, hits: truths of this look. n, accuracy (0..1), ci_low, ci_high: of the last 28 nights, or of the
    baseline while that is `waiting`. baseline: the accuracy, 0..1, that the champion had at least. e_value:
    the evidence of a drop. status: waiting, ok, watch or dropped.
    """

    attribute: str
    counted: int
    hits: int
    n: int
    accuracy: float | None
    ci_low: float | None
    ci_high: float | None
    baseline: float | None
    e_value: float | None
    status: str
    baseline_n: int
    baseline_hits: int
    state: str | None


@dataclass(frozen=True)
class Check:
    """A look at a label set. fresh: this run's; else an earlier one stands, as it was only a moment ago."""

    check_id: int
    number: int
    checked_at: datetime
    fresh: bool
    readings: tuple[AttributeReading, ...]


@outlasts_outages
def look(engine: Engine, run_id: int, label_set: LabelSet, rules: Rules) -> Check:
    """Counts the truth that has come since the last look, and writes what it tells; safe to repeat.

    A look is a night: one that follows another too soon counts nothing, and what came belongs to the next.
    """
    with writing(engine) as connection:
        one_at_a_time(connection)
        now, last = clock(connection), _last(connection, label_set)
        if last is not None and (last.run_id == run_id or now - last.checked_at < rules.apart):
            return _check(connection, label_set, last, fresh=last.run_id == run_id)
        row = _begun(connection, run_id, label_set, last, now)
        counted = (last.truth_id, last.checked_at) if last else None
        came = arrived(connection, label_set.label_set_id, row.check_id, counted)
        before = {} if last is None else _readings(connection, last.check_id)
        so_far = accuracy_drops.counted(connection, label_set)
        found = [
            _held(
                _after(attribute, before.get(key), came.get(key, Arrived()), label_set, rules),
                so_far.get(key, (0, 0)),
            )
            for attribute, key in label_set.attribute_ids.items()
        ]
        _write(connection, label_set, row.check_id, found)
        check = Check(row.check_id, row.number, row.checked_at, True, tuple(found))
        accuracy_drops.record(connection, label_set, check.check_id, found)
        return check


@outlasts_outages
def history(engine: Engine, label_set: LabelSet, checks: int) -> list[Check]:
    """The last looks at a label set, oldest first."""
    mine = accuracy_checks.c.label_set_id == label_set.label_set_id
    query = select(accuracy_checks).where(mine).order_by(accuracy_checks.c.number.desc()).limit(checks)
    with reading(engine) as connection:
        rows = connection.execute(query).all()
        return [_check(connection, label_set, row, fresh=False) for row in reversed(rows)]


def _last(connection: Connection, label_set: LabelSet) -> Row[Any] | None:
    mine = accuracy_checks.c.label_set_id == label_set.label_set_id
    query = select(accuracy_checks).where(mine).order_by(accuracy_checks.c.number.desc())
    return connection.execute(query.limit(1)).first()


def _begun(
    connection: Connection, run_id: int, label_set: LabelSet, last: Row[Any] | None, now: datetime
) -> Row[Any]:
    row = {
        "run_id": run_id,
        "label_set_id": label_set.label_set_id,
        "number": last.number + 1 if last else 1,
        "truth_id": connection.execute(select(func.coalesce(func.max(truths.c.truth_id), 0))).scalar_one(),
        "checked_at": now,
    }
    return connection.execute(insert(accuracy_checks).values(row).returning(accuracy_checks)).one()


def _readings(connection: Connection, check_id: int) -> dict[int, Row[Any]]:
    query = select(accuracy_readings).where(accuracy_readings.c.check_id == check_id)
    return {row.attribute_id: row for row in connection.execute(query)}


def _held(found: AttributeReading, so_far: tuple[int, int]) -> AttributeReading:
    """To the baseline of all truth, each time that there is twice as much, up to MOST_BASELINE."""
    n, hits = so_far[0] + found.counted, so_far[1] + found.hits
    fixed = found.state is None or found.status == Status.DROPPED or found.baseline_n >= MOST_BASELINE
    if fixed or n < 2 * found.baseline_n:
        return found
    alarm = held_to(Alarm.from_json(str(found.state)), baseline_bound(hits, n))
    told = alarm.reading()
    return replace(
        found, baseline=told.baseline, e_value=told.e_value, status=str(told.status), baseline_n=n,
        baseline_hits=hits, state=alarm.to_json(),
    )  # fmt: skip


def _after(
    attribute: str, before: Row[Any] | None, came: Arrived, label_set: LabelSet, rules: Rules
) -> AttributeReading:
    baseline_n = before.baseline_n if before else 0
    baseline_hits = before.baseline_hits if before else 0
    if before is not None and before.state is not None:
        alarm = after(Alarm.from_json(before.state), Night(came.of_night, came.hits_of_night))
        counted, hits = came.of_night, came.hits_of_night
    else:
        counted, hits = came.n, came.hits
        baseline_n, baseline_hits = baseline_n + counted, baseline_hits + hits
        if baseline_n < max(rules.baseline, 1):
            return _waiting(attribute, counted, hits, baseline_n, baseline_hits)
        alarm = begin(baseline_bound(baseline_hits, baseline_n), len(label_set.attribute_ids))
    told = alarm.reading()
    return AttributeReading(
        attribute=attribute, counted=counted, hits=hits, n=told.n, accuracy=told.accuracy, ci_low=told.low,
        ci_high=told.high, baseline=told.baseline, e_value=told.e_value, status=str(told.status),
        baseline_n=baseline_n, baseline_hits=baseline_hits, state=alarm.to_json(),
    )  # fmt: skip


def _waiting(attribute: str, counted: int, hits: int, n: int, all_hits: int) -> AttributeReading:
    accuracy, (low, high) = (all_hits / n, exact_interval(all_hits, n)) if n else (None, (None, None))
    return AttributeReading(
        attribute=attribute, counted=counted, hits=hits, n=n, accuracy=accuracy, ci_low=low, ci_high=high,
        baseline=None, e_value=None, status=WAITING, baseline_n=n, baseline_hits=all_hits, state=None,
    )  # fmt: skip


def _write(connection: Connection, label_set: LabelSet, check_id: int, found: list[AttributeReading]) -> None:
    rows = [
        {name: value for name, value in vars(one).items() if name != "attribute"}
        | {"check_id": check_id, "attribute_id": label_set.attribute_ids[one.attribute]}
        for one in found
    ]
    connection.execute(insert(accuracy_readings), rows)


def _check(connection: Connection, label_set: LabelSet, row: Row[Any], fresh: bool) -> Check:
    readings = _readings(connection, row.check_id)
    names = {attribute_id: name for name, attribute_id in label_set.attribute_ids.items()}
    found = []
    for attribute_id, name in names.items():
        values = readings[attribute_id]._asdict()
        del values["check_id"], values["attribute_id"]
        found.append(AttributeReading(name, **values))
    return Check(row.check_id, row.number, row.checked_at, fresh, tuple(found))
