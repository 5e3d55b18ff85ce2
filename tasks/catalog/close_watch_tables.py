"""The table of close watches: a new champion beside the one that it replaced, on truth that came after.

retrainings <-- close_watches --> model_versions
"""

from sqlalchemy import CheckConstraint, Column, Double, ForeignKey, Integer, Table, Text, UniqueConstraint

from tasks.catalog.tables import UtcDateTime, key_column, metadata, reference

# One row a promotion that a retraining made. truth_id: of the truth that was looked at last; later ones are
# yet to count. n, losses, gains: see fashion_clip.close_watch. outcome: watching until there is another.
close_watches = Table(
    "close_watches",
    metadata,
    key_column("close_watch_id"),
    reference("retrainings.retraining_id"),
    Column("champion_id", Integer, ForeignKey("model_versions.model_version_id"), nullable=False, index=True),
    Column("replaced_id", Integer, ForeignKey("model_versions.model_version_id"), nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("truth_id", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("gains", Integer, nullable=False),
    Column("e_value", Double, nullable=False),
    Column("looked_at", UtcDateTime),
    Column("outcome", Text, nullable=False),
    Column("told", Text),
    Column("finished_at", UtcDateTime),
    UniqueConstraint("retraining_id"),
    CheckConstraint("outcome IN ('watching', 'held', 'rolled_back', 'ended')", name="outcome"),
)
