"""The tables of the nightly check: what truth says of the champion, drops, and what is guessed without truth.

runs <-- accuracy_checks <-- accuracy_readings
              ^  ^-- accuracy_drops <-- retrainings
              |
         label_sets <-- counted_truths, drift_references        runs <-- run_estimates, run_drifts
"""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from tasks.catalog.tables import UtcDateTime, key_column, metadata, reference

# One row a look at what a label set said. number: how many there were at this one, so that two at the same
# time do not both count what came. truth_id: the last that was there; later ones are yet to count.
accuracy_checks = Table(
    "accuracy_checks",
    metadata,
    key_column("check_id"),
    reference("runs.run_id"),
    reference("label_sets.label_set_id"),
    Column("number", Integer, nullable=False),
    Column("truth_id", Integer, nullable=False),
    Column("checked_at", UtcDateTime, nullable=False),
    UniqueConstraint("label_set_id", "number"),
)

# counted, hits: of this look. baseline_n, baseline_hits: the truths that the baseline is made of, those that
# come first, and all of them each time that there are twice as many. state is null until there are enough,
# and then the alarm's, see fashion_clip.accuracy_alarm.
accuracy_readings = Table(
    "accuracy_readings",
    metadata,
    Column("check_id", Integer, ForeignKey("accuracy_checks.check_id"), primary_key=True),
    Column("attribute_id", Integer, ForeignKey("attributes.attribute_id"), primary_key=True),
    Column("counted", Integer, nullable=False),
    Column("hits", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("accuracy", Double),
    Column("ci_low", Double),
    Column("ci_high", Double),
    Column("baseline", Double),
    Column("e_value", Double),
    Column("status", Text, nullable=False),
    Column("baseline_n", Integer, nullable=False),
    Column("baseline_hits", Integer, nullable=False),
    Column("state", Text),
    CheckConstraint("status IN ('waiting', 'ok', 'watch', 'dropped')", name="status"),
)

# What has counted for or against a label set: a product counts once, whatever is said of it later.
counted_truths = Table(
    "counted_truths",
    metadata,
    Column("label_set_id", Integer, ForeignKey("label_sets.label_set_id"), primary_key=True),
    Column("attribute_id", Integer, ForeignKey("attributes.attribute_id"), primary_key=True),
    Column("product_id", Text, primary_key=True),
    Column("check_id", Integer, ForeignKey("accuracy_checks.check_id"), nullable=False),
)

# One row a drop that a retraining has to answer: the first of an attribute when its alarm goes, the next ones
# each time that twice as much truth has counted and what was tried by then has not helped. truths: counted.
# kind: of accuracy, or a drift of photos.
accuracy_drops = Table(
    "accuracy_drops",
    metadata,
    key_column("drop_id"),
    reference("label_sets.label_set_id"),
    Column("number", Integer, nullable=False),
    reference("accuracy_checks.check_id"),
    reference("attributes.attribute_id"),
    Column("kind", Text, nullable=False),
    Column("truths", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("found_at", UtcDateTime, nullable=False),
    UniqueConstraint("label_set_id", "number"),
)

# What a run's labels are guessed to be worth, by their calibrated confidences: 0..1 over so many photos.
run_estimates = Table(
    "run_estimates",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.run_id"), primary_key=True),
    Column("attribute_id", Integer, ForeignKey("attributes.attribute_id"), primary_key=True),
    reference("label_sets.label_set_id"),
    Column("photos", Integer, nullable=False),
    Column("estimated_accuracy", Double, nullable=False),
)

# What the champion knew when it was put in place, photos of shards up to that one: see
# fashion_clip.embedding_drift.
drift_references = Table(
    "drift_references",
    metadata,
    Column("label_set_id", Integer, ForeignKey("label_sets.label_set_id"), primary_key=True),
    Column("made_at", UtcDateTime, nullable=False),
    Column("shard_id", Integer, nullable=False),
    Column("embeddings", Text, nullable=False),
)

# How the photos of a night differ from that: those that shards up to shard_id have bound since the look
# before, of whatever runs. kind: embeddings or unknown. photos: that differ from each other. statistic: how
# far they are, or the share of unknown ones. state: of the test after this look, as JSON.
run_drifts = Table(
    "run_drifts",
    metadata,
    Column("run_id", Integer, ForeignKey("runs.run_id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    reference("label_sets.label_set_id"),
    Column("looked_at", UtcDateTime, nullable=False),
    Column("shard_id", Integer, nullable=False),
    Column("photos", Integer, nullable=False),
    Column("statistic", Double),
    Column("p_value", Double),
    Column("e_value", Double),
    Column("drifted", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),
)
