"""The tables behind the views. People query the views (`views.py`); these may change by migration.

    photos --> contents <-- embeddings --> encoders <-- model_versions
                  ^                                          ^
                  |                                          |
               labels ------> label_sets ------------------- + --> taxonomies
                  |               ^
                  v               `-- served_label_set (one row), served_log
               shards --> runs

A photo is a source object (uri); a content is the sha256 of its bytes. Work is keyed by content: two photos
of the same bytes share one embedding and one set of label rows.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from tasks.catalog.vectors import Float16Vector

CANDIDATES = 5  # labels kept per photo and attribute
SCORE_SCALE = 10_000  # similarities and confidences are stored as integers in units of 0.0001


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python; `timestamptz` in PostgreSQL, ISO text in UTC in SQLite, which knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Listings are merged with the catalogue in byte order, which SQLite's default is and PostgreSQL's "C" is.
ByteOrderedText = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def key_column(name: str) -> Column[int]:
    """An integer primary key, drawn by the database."""
    return Column(name, Integer, primary_key=True)


def reference(column: str, *, nullable: bool = False) -> Column[int]:
    """A column called and filled as the one it refers to, `table.column`."""
    return Column(column.split(".")[1], Integer, ForeignKey(column), nullable=nullable)


# owner is drawn by the process that runs it; while that lives it moves alive_until on.
runs = Table(
    "runs",
    metadata,
    key_column("run_id"),
    Column("flow", Text, nullable=False),
    Column("source", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("status", Text, nullable=False),
    Column("listed", Integer),
    Column("ignored", Integer),
    Column("known", Integer),
    Column("remaining", Integer),
    Column("error", Text),
    Column("prefect_flow_run_id", Text),
    Column("owner", Text),
    Column("alive_until", UtcDateTime),
    # Unique by an index and no constraint, here and in shards: SQLite adds a constraint only to a new table.
    Index("uq_runs_owner", "owner", unique=True),
    CheckConstraint("status IN ('running', 'completed', 'failed', 'interrupted')", name="status"),
)

# One row a committed transaction of a run: its counts add up to the run's, also when the run is killed.
# photos: all that it took off the list, those that show what they did before included. claim: the owner of
# that work, so that who repeats a commit finds it done.
shards = Table(
    "shards",
    metadata,
    key_column("shard_id"),
    Column("run_id", Integer, ForeignKey("runs.run_id"), nullable=False, index=True),
    Column("committed_at", UtcDateTime, nullable=False),
    Column("embedded", Integer, nullable=False),
    Column("tagged", Integer, nullable=False),
    Column("quarantined", Integer, nullable=False),
    Column("newly_quarantined", Integer, nullable=False, server_default="0"),
    Column("photos", Integer, nullable=False, server_default="0"),
    Column("claim", Text),
    Index("uq_shards_claim", "claim", unique=True),
)

contents = Table(
    "contents",
    metadata,
    key_column("content_id"),
    Column("sha256", Text, nullable=False, unique=True),
)

# change_token is that of the bytes last read, or the listing's where none could be.
photos = Table(
    "photos",
    metadata,
    key_column("photo_id"),
    Column("uri", ByteOrderedText, nullable=False, unique=True),
    Column("product_id", Text, nullable=False, index=True),
    Column("change_token", Text),
    Column("content_id", Integer, ForeignKey("contents.content_id"), index=True),
    Column("shard_id", Integer, ForeignKey("shards.shard_id"), nullable=False, index=True),
    Column("vanished_at", UtcDateTime),
)

# What a photo showed before its bytes changed: label_history tells what was said of it then.
photo_past_contents = Table(
    "photo_past_contents",
    metadata,
    Column("photo_id", Integer, ForeignKey("photos.photo_id"), primary_key=True),
    Column("shard_id", Integer, ForeignKey("shards.shard_id"), primary_key=True),
    reference("contents.content_id"),
    Column("replaced_at", UtcDateTime, nullable=False),
)

# retry_at is when the next scan may try the photo again although nothing of it changed; null for never.
quarantine = Table(
    "quarantine",
    metadata,
    Column("photo_id", Integer, ForeignKey("photos.photo_id"), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_failed_at", UtcDateTime, nullable=False),
    Column("last_failed_at", UtcDateTime, nullable=False),
    Column("retry_at", UtcDateTime),
)

# Photos that a scan found new or changed and that no shard has committed yet, of all runs from the first that
# listed them so to the last. change_token is the last listing's. claims counts how often a photo was taken:
# more than once if a worker died over it.
work = Table(
    "work",
    metadata,
    key_column("work_id"),
    Column("uri", ByteOrderedText, nullable=False, unique=True),
    Column("change_token", Text, nullable=False),
    Column("first_run_id", Integer, ForeignKey("runs.run_id"), nullable=False),
    Column("last_run_id", Integer, ForeignKey("runs.run_id"), nullable=False),
    Column("claims", Integer, nullable=False),
    Column("owner", Text, index=True),
    Column("leased_until", UtcDateTime),
    # In the order in which work is taken: a run's own first, and what killed a worker last.
    Index(None, "last_run_id", "claims", "work_id"),
)

encoders = Table(
    "encoders",
    metadata,
    key_column("encoder_id"),
    Column("identity", Text, nullable=False, unique=True),
    Column("dimension", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("precision", Text, nullable=False, server_default="float32"),
    Column("decode", Text, nullable=False, server_default="exact"),
    Column("generation", Integer, nullable=False, server_default="1"),
)

# What an encoder made of the photos that come with this program when it was first used: float16, as bytes.
reference_vectors = Table(
    "reference_vectors",
    metadata,
    Column("encoder_id", Integer, ForeignKey("encoders.encoder_id"), primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)

# vector: float16, L2-normalised before rounding.
embeddings = Table(
    "embeddings",
    metadata,
    Column("encoder_id", Integer, ForeignKey("encoders.encoder_id"), primary_key=True),
    Column("content_id", Integer, ForeignKey("contents.content_id"), primary_key=True),
    Column("vector", Float16Vector, nullable=False),
)

# A row is never updated: whatever changes a model's answers makes another fingerprint and another version.
# checkpoint: a hub name, a folder, or registry:VERSION, a folder of MODELS_DIR, with the digest that it had.
# head: sha256 of the learned heads there; null for a model that is zero-shot. calibration: JSON, see
# fashion_clip.calibration; null for a model whose confidences are as they come. made: JSON, how it was made.
model_versions = Table(
    "model_versions",
    metadata,
    key_column("model_version_id"),
    Column("version", Text, nullable=False, unique=True),
    Column("fingerprint", Text, nullable=False, unique=True),
    Column("checkpoint", Text, nullable=False),
    reference("encoders.encoder_id"),
    Column("rung", Text, nullable=False),
    Column("parent_id", Integer, ForeignKey("model_versions.model_version_id")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("calibration", Text),
    Column("digest", Text),
    Column("head", Text),
    Column("made", Text),
)

taxonomies = Table(
    "taxonomies",
    metadata,
    key_column("taxonomy_id"),
    Column("version", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

attributes = Table(
    "attributes",
    metadata,
    key_column("attribute_id"),
    Column("name", Text, nullable=False, unique=True),
)

label_names = Table(
    "label_names",
    metadata,
    key_column("label_id"),
    reference("attributes.attribute_id"),
    Column("name", Text, nullable=False),
    UniqueConstraint("attribute_id", "name"),
)

label_sets = Table(
    "label_sets",
    metadata,
    key_column("label_set_id"),
    reference("model_versions.model_version_id"),
    reference("taxonomies.taxonomy_id"),
    Column("status", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
    UniqueConstraint("model_version_id", "taxonomy_id"),
    CheckConstraint("status IN ('building', 'complete')", name="status"),
)

served_label_set = Table(
    "served_label_set",
    metadata,
    Column("only_row", Integer, primary_key=True, autoincrement=False),
    reference("label_sets.label_set_id"),
    CheckConstraint("only_row = 1", name="only_row"),
)

served_log = Table(
    "served_log",
    metadata,
    key_column("served_log_id"),
    reference("label_sets.label_set_id"),
    Column("served_from", UtcDateTime, nullable=False),
    Column("served_to", UtcDateTime),
    Column("reason", Text, nullable=False),
)


def _candidate_columns() -> list[Column[int]]:
    """label_1, similarity_1, confidence_1, label_2, ...: null beyond the labels that an attribute has."""
    return [
        column
        for rank in range(1, CANDIDATES + 1)
        for column in (
            Column(f"label_{rank}", Integer, nullable=rank > 1),
            Column(f"similarity_{rank}", SmallInteger, nullable=rank > 1),
            Column(f"confidence_{rank}", SmallInteger, nullable=rank > 1),
        )
    ]


# What people say a photo shows (product_id ''), or a product whatever the photo (photo_id 0): a photo keeps
# its truth when its product is called otherwise. The latest row of a photo or product and attribute counts;
# earlier ones tell of conflicts. label_id is null where no label fits. chosen: how the photo came to be seen;
# only what was drawn at random, with a known probability, tells of the rest.
truths = Table(
    "truths",
    metadata,
    key_column("truth_id"),
    Column("product_id", Text, nullable=False),
    Column("photo_id", Integer, nullable=False, index=True),
    reference("attributes.attribute_id"),
    reference("label_names.label_id", nullable=True),
    Column("chosen", Text, nullable=False),
    Column("inclusion_probability", Double),
    Column("given_by", Text, nullable=False),
    Column("given_at", UtcDateTime, nullable=False),
    Column("imported_at", UtcDateTime, nullable=False),
    UniqueConstraint("product_id", "photo_id", "attribute_id", "given_by", "given_at"),
    CheckConstraint("chosen IN ('random', 'review', 'unsampled')", name="chosen"),
    CheckConstraint("(chosen = 'random') = (inclusion_probability IS NOT NULL)", name="sampled"),
)

# Photos of a run drawn at random to be looked at, each with the probability that it had to be drawn.
audit_samples = Table(
    "audit_samples",
    metadata,
    Column("photo_id", Integer, ForeignKey("photos.photo_id"), primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.run_id"), primary_key=True),
    Column("inclusion_probability", Double, nullable=False),
    Column("drawn_at", UtcDateTime, nullable=False, index=True),
)

# A model on a data set, or on the truth of the catalogue. Names stand as text, since a data set may have
# labels of its own. document: all figures as JSON.
evaluations = Table(
    "evaluations",
    metadata,
    key_column("evaluation_id"),
    reference("runs.run_id"),
    Column("evaluated_at", UtcDateTime, nullable=False),
    Column("data", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("taxonomy_version", Text, nullable=False),
    Column("document", Text, nullable=False),
    UniqueConstraint("run_id", "model"),
)


def _of_evaluation(*names: str) -> list[Column[Any]]:
    evaluation = Column("evaluation_id", Integer, ForeignKey("evaluations.evaluation_id"), primary_key=True)
    return [evaluation, *(Column(name, Text, primary_key=True) for name in names)]


def _figures(*names: str) -> list[Column[float]]:
    return [Column(name, Double, nullable=False) for name in names]


evaluation_attributes = Table(
    "evaluation_attributes",
    metadata,
    *_of_evaluation("attribute"),
    Column("n", Integer, nullable=False),
    *_figures("accuracy", "ci_low", "ci_high", "top5", "macro_f1", "weighted_f1"),
    *_figures("calibration_error", "coverage_at_95"),
)

evaluation_labels = Table(
    "evaluation_labels",
    metadata,
    *_of_evaluation("attribute", "label"),
    Column("support", Integer, nullable=False),
    Column("predicted", Integer, nullable=False),
    *_figures("precision", "recall", "f1"),
)

evaluation_slices = Table(
    "evaluation_slices",
    metadata,
    *_of_evaluation("attribute", "slice", "value"),
    Column("n", Integer, nullable=False),
    *_figures("accuracy", "ci_low", "ci_high"),
)


# No foreign keys here: twenty million rows are written by one function, in the transaction that makes the
# rows they name. decision: see fashion_clip.scoring.Decision.
labels = Table(
    "labels",
    metadata,
    Column("label_set_id", Integer, primary_key=True, autoincrement=False),
    Column("content_id", Integer, primary_key=True, autoincrement=False),
    Column("attribute_id", Integer, primary_key=True, autoincrement=False),
    Column("shard_id", Integer, nullable=False),
    Column("decision", SmallInteger, nullable=False),
    *_candidate_columns(),
    sqlite_with_rowid=False,
)
