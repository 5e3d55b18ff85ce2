"""The tables of retraining: attempts to better the champion, what was made, how it was judged and by whom.

retrainings --> gates --> decisions
     |            |
     v            v
  runs       model_versions <-- training_truths --> truths
"""

from sqlalchemy import Column, Double, ForeignKey, Index, Integer, SmallInteger, Table, Text, UniqueConstraint

from tasks.catalog.tables import UtcDateTime, key_column, metadata, reference

# One row an attempt. number: how many there were against this champion, this one included: the chance of a
# false promotion is shared out among them. truth_id: of the truth that came last before it. is_open: 1 while
# it may still promote, else null; the unique index on it is the lock, which makes one of two triggers.
# drop_id: the drop in accuracy that it answers, if that asked for it.
retrainings = Table(
    "retrainings",
    metadata,
    key_column("retraining_id"),
    reference("runs.run_id"),
    Column("champion_id", Integer, ForeignKey("model_versions.model_version_id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("rung", Text, nullable=False),
    Column("attribute", Text, nullable=False),
    Column("minimum_gain", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("truth_id", Integer, nullable=False),
    Column("prefect_flow_run_id", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("outcome", Text, nullable=False),
    Column("told", Text),
    Column("is_open", SmallInteger),
    Column("drop_id", Integer, index=True),
    Index("uq_retrainings_is_open", "is_open", unique=True),
)

# One row a rung that was climbed: the verdict on its challenger, all figures in document (JSON).
gates = Table(
    "gates",
    metadata,
    key_column("gate_id"),
    reference("retrainings.retraining_id"),
    Column("rung", Text, nullable=False),
    Column("challenger_id", Integer, ForeignKey("model_versions.model_version_id"), index=True),
    Column("level", Double, nullable=False),
    Column("passed", SmallInteger, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("judged_at", UtcDateTime, nullable=False),
    UniqueConstraint("retraining_id", "rung"),
)

# What a person said of a challenger, once and for all.
decisions = Table(
    "decisions",
    metadata,
    Column("gate_id", Integer, ForeignKey("gates.gate_id"), primary_key=True, autoincrement=False),
    Column("approved", SmallInteger, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
)

# What a version was made from, so that it can be made again. part: training, validation or judge.
training_truths = Table(
    "training_truths",
    metadata,
    Column("model_version_id", Integer, primary_key=True, autoincrement=False),
    Column("truth_id", Integer, primary_key=True, autoincrement=False),
    Column("part", Text, nullable=False),
    sqlite_with_rowid=False,
)
