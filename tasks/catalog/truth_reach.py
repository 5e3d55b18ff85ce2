"""How far the truth that was drawn at random reaches: of which of the catalogue's photos it tells."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, func, select, text

from tasks.catalog.engine import outlasts_outages, reading
from tasks.catalog.tables import photos, runs, shards


@dataclass(frozen=True)
class Reach:
    """How many of the present photos come from runs that were drawn from, and when the first of those began.

    Runs that were drawn from are those with an audit sample, or with random truth of another draw.
    """

    photos: int
    reached: int
    since: datetime | None


@outlasts_outages
def reach(engine: Engine) -> Reach:
    """Of which part of the catalogue random truth tells. It reads each photo's row once, and no labels."""
    per_shard = (
        select(photos.c.shard_id, func.count().label("photos"))
        .where(photos.c.vanished_at.is_(None), photos.c.content_id.is_not(None))
        .group_by(photos.c.shard_id)
        .subquery()
    )
    per_run = (
        select(runs.c.run_id, runs.c.started_at, func.sum(per_shard.c.photos))
        .select_from(per_shard)
        .join(shards, shards.c.shard_id == per_shard.c.shard_id)
        .join(runs, runs.c.run_id == shards.c.run_id)
        .group_by(runs.c.run_id, runs.c.started_at)
    )
    drawn_from = text(
        "SELECT run_id FROM audit_samples UNION SELECT h.run_id FROM photo_truths t"
        " JOIN shards h ON h.shard_id = t.shard_id WHERE t.chosen = 'random'"
    )
    with reading(engine) as connection:
        drawn = set(connection.execute(drawn_from).scalars())
        found = connection.execute(per_run).all()
    reached = [row for row in found if row[0] in drawn]
    return Reach(
        photos=sum(int(row[2]) for row in found),
        reached=sum(int(row[2]) for row in reached),
        since=min((row[1] for row in reached), default=None),
    )
