"""Truth, what is drawn to be looked at, evaluations, and a model's calibration."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds tables; the models there are, are uncalibrated."""
    op.add_column("model_versions", sa.Column("calibration", sa.Text(), nullable=True))
    op.create_table(
        "truths",
        sa.Column("truth_id", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("photo_id", sa.Integer(), nullable=False),
        sa.Column("attribute_id", sa.Integer(), nullable=False),
        sa.Column("label_id", sa.Integer(), nullable=True),
        sa.Column("chosen", sa.Text(), nullable=False),
        sa.Column("inclusion_probability", sa.Double(), nullable=True),
        sa.Column("given_by", sa.Text(), nullable=False),
        sa.Column("given_at", TIME, nullable=False),
        sa.Column("imported_at", TIME, nullable=False),
        sa.CheckConstraint("chosen IN ('random', 'review', 'unsampled')", name=op.f("ck_truths_chosen")),
        sa.CheckConstraint(
            "(chosen = 'random') = (inclusion_probability IS NOT NULL)", name=op.f("ck_truths_sampled")
        ),
        sa.ForeignKeyConstraint(
            ["attribute_id"], ["attributes.attribute_id"], name=op.f("fk_truths_attribute_id")
        ),
        sa.ForeignKeyConstraint(["label_id"], ["label_names.label_id"], name=op.f("fk_truths_label_id")),
        sa.PrimaryKeyConstraint("truth_id", name=op.f("pk_truths")),
        sa.UniqueConstraint(
            "product_id",
            "photo_id",
            "attribute_id",
            "given_by",
            "given_at",
            name=op.f("uq_truths_product_id_photo_id_attribute_id_given_by_given_at"),
        ),
    )
    op.create_index(op.f("ix_truths_photo_id"), "truths", ["photo_id"])
    op.create_table(
        "audit_samples",
        sa.Column("photo_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("inclusion_probability", sa.Double(), nullable=False),
        sa.Column("drawn_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["photo_id"], ["photos.photo_id"], name=op.f("fk_audit_samples_photo_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_audit_samples_run_id")),
        sa.PrimaryKeyConstraint("photo_id", "run_id", name=op.f("pk_audit_samples")),
    )
    _create_evaluations()


def _create_evaluations() -> None:
    op.create_table(
        "evaluations",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("evaluated_at", TIME, nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("taxonomy_version", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_evaluations_run_id")),
        sa.PrimaryKeyConstraint("evaluation_id", name=op.f("pk_evaluations")),
        sa.UniqueConstraint("run_id", "model", name=op.f("uq_evaluations_run_id_model")),
    )
    op.create_table(
        "evaluation_attributes",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=False),
        sa.Column("ci_low", sa.Double(), nullable=False),
        sa.Column("ci_high", sa.Double(), nullable=False),
        sa.Column("top5", sa.Double(), nullable=False),
        sa.Column("macro_f1", sa.Double(), nullable=False),
        sa.Column("weighted_f1", sa.Double(), nullable=False),
        sa.Column("calibration_error", sa.Double(), nullable=False),
        sa.Column("coverage_at_95", sa.Double(), nullable=False),
        _of_evaluation("evaluation_attributes"),
        sa.PrimaryKeyConstraint("evaluation_id", "attribute", name=op.f("pk_evaluation_attributes")),
    )
    op.create_table(
        "evaluation_labels",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("support", sa.Integer(), nullable=False),
        sa.Column("predicted", sa.Integer(), nullable=False),
        sa.Column("precision", sa.Double(), nullable=False),
        sa.Column("recall", sa.Double(), nullable=False),
        sa.Column("f1", sa.Double(), nullable=False),
        _of_evaluation("evaluation_labels"),
        sa.PrimaryKeyConstraint("evaluation_id", "attribute", "label", name=op.f("pk_evaluation_labels")),
    )
    op.create_table(
        "evaluation_slices",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=False),
        sa.Column("ci_low", sa.Double(), nullable=False),
        sa.Column("ci_high", sa.Double(), nullable=False),
        _of_evaluation("evaluation_slices"),
        sa.PrimaryKeyConstraint(
            "evaluation_id", "attribute", "slice", "value", name=op.f("pk_evaluation_slices")
        ),
    )


def _of_evaluation(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["evaluation_id"], ["evaluations.evaluation_id"], name=op.f(f"fk_{table}_evaluation_id")
    )
