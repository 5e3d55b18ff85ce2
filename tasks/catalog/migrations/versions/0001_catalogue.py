"""The catalogue's first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# As in SQLite: listings are merged with the catalogue in byte order.
BYTE_ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Creates every table and index."""
    op.create_table(
        "attributes",
        sa.Column("attribute_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("attribute_id", name=op.f("pk_attributes")),
        sa.UniqueConstraint("name", name=op.f("uq_attributes_name")),
    )
    op.create_table(
        "contents",
        sa.Column("content_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("content_id", name=op.f("pk_contents")),
        sa.UniqueConstraint("sha256", name=op.f("uq_contents_sha256")),
    )
    op.create_table(
        "encoders",
        sa.Column("encoder_id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("encoder_id", name=op.f("pk_encoders")),
        sa.UniqueConstraint("identity", name=op.f("uq_encoders_identity")),
    )
    op.create_table(
        "labels",
        sa.Column("label_set_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attribute_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("shard_id", sa.Integer(), nullable=False),
        sa.Column("decision", sa.SmallInteger(), nullable=False),
        sa.Column("label_1", sa.Integer(), nullable=False),
        sa.Column("similarity_1", sa.SmallInteger(), nullable=False),
        sa.Column("confidence_1", sa.SmallInteger(), nullable=False),
        sa.Column("label_2", sa.Integer(), nullable=True),
        sa.Column("similarity_2", sa.SmallInteger(), nullable=True),
        sa.Column("confidence_2", sa.SmallInteger(), nullable=True),
        sa.Column("label_3", sa.Integer(), nullable=True),
        sa.Column("similarity_3", sa.SmallInteger(), nullable=True),
        sa.Column("confidence_3", sa.SmallInteger(), nullable=True),
        sa.Column("label_4", sa.Integer(), nullable=True),
        sa.Column("similarity_4", sa.SmallInteger(), nullable=True),
        sa.Column("confidence_4", sa.SmallInteger(), nullable=True),
        sa.Column("label_5", sa.Integer(), nullable=True),
        sa.Column("similarity_5", sa.SmallInteger(), nullable=True),
        sa.Column("confidence_5", sa.SmallInteger(), nullable=True),
        sa.PrimaryKeyConstraint("label_set_id", "content_id", "attribute_id", name=op.f("pk_labels")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("listed", sa.Integer(), nullable=True),
        sa.Column("ignored", sa.Integer(), nullable=True),
        sa.Column("known", sa.Integer(), nullable=True),
        sa.Column("remaining", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("prefect_flow_run_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'failed', 'interrupted')", name=op.f("ck_runs_status")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
    )
    op.create_table(
        "taxonomies",
        sa.Column("taxonomy_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("taxonomy_id", name=op.f("pk_taxonomies")),
        sa.UniqueConstraint("version", name=op.f("uq_taxonomies_version")),
    )
    op.create_table(
        "embeddings",
        sa.Column("encoder_id", sa.Integer(), nullable=False),
        sa.Column("content_id", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["content_id"], ["contents.content_id"], name=op.f("fk_embeddings_content_id")
        ),
        sa.ForeignKeyConstraint(
            ["encoder_id"], ["encoders.encoder_id"], name=op.f("fk_embeddings_encoder_id")
        ),
        sa.PrimaryKeyConstraint("encoder_id", "content_id", name=op.f("pk_embeddings")),
    )
    op.create_table(
        "label_names",
        sa.Column("label_id", sa.Integer(), nullable=False),
        sa.Column("attribute_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attribute_id"], ["attributes.attribute_id"], name=op.f("fk_label_names_attribute_id")
        ),
        sa.PrimaryKeyConstraint("label_id", name=op.f("pk_label_names")),
        sa.UniqueConstraint("attribute_id", "name", name=op.f("uq_label_names_attribute_id_name")),
    )
    op.create_table(
        "model_versions",
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=False),
        sa.Column("encoder_id", sa.Integer(), nullable=False),
        sa.Column("rung", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["encoder_id"], ["encoders.encoder_id"], name=op.f("fk_model_versions_encoder_id")
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["model_versions.model_version_id"], name=op.f("fk_model_versions_parent_id")
        ),
        sa.PrimaryKeyConstraint("model_version_id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_model_versions_fingerprint")),
        sa.UniqueConstraint("version", name=op.f("uq_model_versions_version")),
    )
    op.create_table(
        "shards",
        sa.Column("shard_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("embedded", sa.Integer(), nullable=False),
        sa.Column("tagged", sa.Integer(), nullable=False),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_shards_run_id")),
        sa.PrimaryKeyConstraint("shard_id", name=op.f("pk_shards")),
    )
    op.create_index(op.f("ix_shards_run_id"), "shards", ["run_id"], unique=False)
    op.create_table(
        "work",
        sa.Column("work_id", sa.Integer(), nullable=False),
        sa.Column("uri", BYTE_ORDERED, nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_work_run_id")),
        sa.PrimaryKeyConstraint("work_id", name=op.f("pk_work")),
        sa.UniqueConstraint("uri", name=op.f("uq_work_uri")),
    )
    op.create_index(op.f("ix_work_run_id"), "work", ["run_id"], unique=False)
    op.create_table(
        "label_sets",
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("taxonomy_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('building', 'complete')", name=op.f("ck_label_sets_status")),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.model_version_id"],
            name=op.f("fk_label_sets_model_version_id"),
        ),
        sa.ForeignKeyConstraint(
            ["taxonomy_id"], ["taxonomies.taxonomy_id"], name=op.f("fk_label_sets_taxonomy_id")
        ),
        sa.PrimaryKeyConstraint("label_set_id", name=op.f("pk_label_sets")),
        sa.UniqueConstraint(
            "model_version_id", "taxonomy_id", name=op.f("uq_label_sets_model_version_id_taxonomy_id")
        ),
    )
    op.create_table(
        "photos",
        sa.Column("photo_id", sa.Integer(), nullable=False),
        sa.Column("uri", BYTE_ORDERED, nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("change_token", sa.Text(), nullable=True),
        sa.Column("content_id", sa.Integer(), nullable=True),
        sa.Column("shard_id", sa.Integer(), nullable=False),
        sa.Column("vanished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["content_id"], ["contents.content_id"], name=op.f("fk_photos_content_id")),
        sa.ForeignKeyConstraint(["shard_id"], ["shards.shard_id"], name=op.f("fk_photos_shard_id")),
        sa.PrimaryKeyConstraint("photo_id", name=op.f("pk_photos")),
        sa.UniqueConstraint("uri", name=op.f("uq_photos_uri")),
    )
    op.create_index(op.f("ix_photos_content_id"), "photos", ["content_id"], unique=False)
    op.create_index(op.f("ix_photos_product_id"), "photos", ["product_id"], unique=False)
    op.create_index(op.f("ix_photos_shard_id"), "photos", ["shard_id"], unique=False)
    op.create_table(
        "photo_past_contents",
        sa.Column("photo_id", sa.Integer(), nullable=False),
        sa.Column("shard_id", sa.Integer(), nullable=False),
        sa.Column("content_id", sa.Integer(), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["content_id"], ["contents.content_id"], name=op.f("fk_photo_past_contents_content_id")
        ),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photos.photo_id"], name=op.f("fk_photo_past_contents_photo_id")
        ),
        sa.ForeignKeyConstraint(
            ["shard_id"], ["shards.shard_id"], name=op.f("fk_photo_past_contents_shard_id")
        ),
        sa.PrimaryKeyConstraint("photo_id", "shard_id", name=op.f("pk_photo_past_contents")),
    )
    op.create_table(
        "quarantine",
        sa.Column("photo_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["photo_id"], ["photos.photo_id"], name=op.f("fk_quarantine_photo_id")),
        sa.PrimaryKeyConstraint("photo_id", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "served_label_set",
        sa.Column("only_row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.CheckConstraint("only_row = 1", name=op.f("ck_served_label_set_only_row")),
        sa.ForeignKeyConstraint(
            ["label_set_id"], ["label_sets.label_set_id"], name=op.f("fk_served_label_set_label_set_id")
        ),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_served_label_set")),
    )
    op.create_table(
        "served_log",
        sa.Column("served_log_id", sa.Integer(), nullable=False),
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("served_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("served_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_set_id"], ["label_sets.label_set_id"], name=op.f("fk_served_log_label_set_id")
        ),
        sa.PrimaryKeyConstraint("served_log_id", name=op.f("pk_served_log")),
    )
