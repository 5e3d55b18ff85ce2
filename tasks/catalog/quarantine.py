"""Photos that failed: written by the shard that met them, tried again within a budget, told and retried.

What lies in the bytes (no picture, too large) fails the same way until they change. What may pass (the disk,
the network, a busy machine) is tried again by the next run, and then after one, two, four days; after
MAX_ATTEMPTS only by hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, select, update

from tasks.catalog.engine import clock, outlasts_outages, reading, writing
from tasks.catalog.inserts import upsert
from tasks.catalog.outcome import Outcome, PhotoRow
from tasks.catalog.tables import photos, quarantine

PASSING = frozenset(
    {"gone", "changing", "unreadable", "forbidden", "too_slow", "out_of_memory", "decoder_died"}
)
MAX_ATTEMPTS = 5
RETRY_EVERY = timedelta(days=1)
# A night that begins a little earlier than the last one is the next night all the same.
NIGHTS_DIFFER = timedelta(hours=6)


@dataclass(frozen=True)
class Quarantined:
    """One row of `quarantined_images`, and when it is tried again by itself: None for never."""

    uri: str
    reason: str
    detail: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    retry_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def retry_at(reason: str, attempts: int, failed_at: datetime) -> datetime | None:
    """When a photo that failed for the `attempts`-th time with the same bytes is tried again by itself."""
    if reason not in PASSING or attempts >= MAX_ATTEMPTS:
        return None
    if attempts == 1:
        return failed_at
    nights = int(2 ** (attempts - 2))
    return failed_at + nights * RETRY_EVERY - NIGHTS_DIFFER


def write_quarantine(
    connection: Connection,
    now: datetime,
    outcomes: Sequence[Outcome],
    before: Mapping[str, PhotoRow],
) -> int:
    """Writes the failures and deletes the cured; returns how many had not failed with these bytes before.

    before: uri -> the row of `photos` before this shard; the photos' rows must be there by now.
    """
    query = select(photos.c.uri, photos.c.photo_id).where(photos.c.uri.in_([o.uri for o in outcomes]))
    ids = dict(connection.execute(query).all())
    cured = [ids[outcome.uri] for outcome in outcomes if not outcome.reason]
    connection.execute(delete(quarantine).where(quarantine.c.photo_id.in_(cured)))
    failed = {ids[outcome.uri]: outcome for outcome in outcomes if outcome.reason}
    query = select(quarantine.c.photo_id, quarantine.c.attempts, quarantine.c.first_failed_at)
    known = {row.photo_id: row for row in connection.execute(query.where(quarantine.c.photo_id.in_(failed)))}
    rows, anew = [], 0
    for photo_id, outcome in failed.items():
        same_bytes = photo_id in known and before[outcome.uri].change_token == outcome.change_token
        attempts = known[photo_id].attempts + 1 if same_bytes else 1
        anew += not same_bytes
        rows.append(
            {
                "photo_id": photo_id,
                "reason": outcome.reason,
                "detail": outcome.detail.replace("\0", "\\x00"),  # which PostgreSQL's text cannot hold
                "attempts": attempts,
                "first_failed_at": known[photo_id].first_failed_at if same_bytes else now,
                "last_failed_at": now,
                "retry_at": retry_at(outcome.reason, attempts, now),
            }
        )
    columns = ["reason", "detail", "attempts", "first_failed_at", "last_failed_at", "retry_at"]
    upsert(connection, quarantine, rows, ["photo_id"], columns)
    return anew


@dataclass(frozen=True)
class Chosen:
    """Which quarantined photos are meant: all, those of a reason, or those of a URI."""

    reason: str | None = None
    uri: str | None = None

    def condition(self) -> ColumnElement[bool]:
        """For queries over quarantine joined with photos."""
        chosen: ColumnElement[bool] = photos.c.vanished_at.is_(None)
        if self.reason is not None:
            chosen &= quarantine.c.reason == self.reason
        if self.uri is not None:
            chosen &= photos.c.uri == self.uri
        return chosen


def listed(engine: Engine, chosen: Chosen, limit: int) -> list[Quarantined]:
    """The chosen photos, those that failed last first."""
    columns = [quarantine.c[name] for name in list(Quarantined.__dataclass_fields__)[1:]]
    query = select(photos.c.uri, *columns).select_from(quarantine.join(photos)).where(chosen.condition())
    with reading(engine) as connection:
        rows = connection.execute(
            query.order_by(quarantine.c.last_failed_at.desc(), photos.c.uri).limit(limit)
        )
        return [Quarantined(*row) for row in rows]


def by_reason(engine: Engine, chosen: Chosen) -> list[tuple[str, int]]:
    """How many of the chosen failed for which reason, the most frequent first."""
    count = func.count()
    query = select(quarantine.c.reason, count).select_from(quarantine.join(photos))
    query = query.where(chosen.condition()).group_by(quarantine.c.reason)
    with reading(engine) as connection:
        return [tuple(row) for row in connection.execute(query.order_by(count.desc(), quarantine.c.reason))]


@outlasts_outages
def retry(engine: Engine, chosen: Chosen) -> int:
    """Lets the next run try the chosen photos again, with their whole budget; returns how many they are."""
    ids = select(quarantine.c.photo_id).select_from(quarantine.join(photos)).where(chosen.condition())
    with writing(engine) as connection:
        query = update(quarantine).where(quarantine.c.photo_id.in_(ids))
        return connection.execute(query.values(retry_at=clock(connection), attempts=0)).rowcount
