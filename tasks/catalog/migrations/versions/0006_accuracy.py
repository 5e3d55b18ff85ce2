"""Looks at accuracy, drops, what has counted, and what is guessed of runs without truth."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds tables and indices, and the drop that a retraining answers; those there are, answer none."""
    op.add_column("retrainings", sa.Column("drop_id", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_retrainings_drop_id"), "retrainings", ["drop_id"])
    op.create_index(op.f("ix_audit_samples_drawn_at"), "audit_samples", ["drawn_at"])
    _create_checks()
    _create_drops()
    op.create_table(
        "run_estimates",
        *_keys("run_estimates", run_id="runs", attribute_id="attributes"),
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("photos", sa.Integer(), nullable=False),
        sa.Column("estimated_accuracy", sa.Double(), nullable=False),
        _refers("run_estimates", "label_set_id", "label_sets"),
    )
    _create_drifts()


def _create_drifts() -> None:
    op.create_table(
        "drift_references",
        *_keys("drift_references", label_set_id="label_sets"),
        sa.Column("made_at", TIME, nullable=False),
        sa.Column("shard_id", sa.Integer(), nullable=False),
        sa.Column("embeddings", sa.Text(), nullable=False),
    )
    op.create_table(
        "run_drifts",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("looked_at", TIME, nullable=False),
        sa.Column("shard_id", sa.Integer(), nullable=False),
        sa.Column("photos", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in ("statistic", "p_value", "e_value")),
        sa.Column("drifted", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        _refers("run_drifts", "run_id", "runs"),
        _refers("run_drifts", "label_set_id", "label_sets"),
        sa.PrimaryKeyConstraint("run_id", "kind", name=op.f("pk_run_drifts")),
    )


def _create_checks() -> None:
    op.create_table(
        "accuracy_checks",
        sa.Column("check_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("truth_id", sa.Integer(), nullable=False),
        sa.Column("checked_at", TIME, nullable=False),
        _refers("accuracy_checks", "run_id", "runs"),
        _refers("accuracy_checks", "label_set_id", "label_sets"),
        sa.PrimaryKeyConstraint("check_id", name=op.f("pk_accuracy_checks")),
        sa.UniqueConstraint("label_set_id", "number", name=op.f("uq_accuracy_checks_label_set_id_number")),
    )
    op.create_table(
        "accuracy_readings",
        *_keys("accuracy_readings", check_id="accuracy_checks", attribute_id="attributes"),
        sa.Column("counted", sa.Integer(), nullable=False),
        sa.Column("hits", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.Double(), nullable=True)
            for name in ("accuracy", "ci_low", "ci_high", "baseline", "e_value")
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("baseline_n", sa.Integer(), nullable=False),
        sa.Column("baseline_hits", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('waiting', 'ok', 'watch', 'dropped')", name=op.f("ck_accuracy_readings_status")
        ),
    )
    op.create_table(
        "counted_truths",
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("attribute_id", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("check_id", sa.Integer(), nullable=False),
        _refers("counted_truths", "label_set_id", "label_sets"),
        _refers("counted_truths", "attribute_id", "attributes"),
        _refers("counted_truths", "check_id", "accuracy_checks"),
        sa.PrimaryKeyConstraint("label_set_id", "attribute_id", "product_id", name=op.f("pk_counted_truths")),
    )


def _create_drops() -> None:
    op.create_table(
        "accuracy_drops",
        sa.Column("drop_id", sa.Integer(), nullable=False),
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("check_id", sa.Integer(), nullable=False),
        sa.Column("attribute_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("truths", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("found_at", TIME, nullable=False),
        _refers("accuracy_drops", "label_set_id", "label_sets"),
        _refers("accuracy_drops", "check_id", "accuracy_checks"),
        _refers("accuracy_drops", "attribute_id", "attributes"),
        sa.PrimaryKeyConstraint("drop_id", name=op.f("pk_accuracy_drops")),
        sa.UniqueConstraint("label_set_id", "number", name=op.f("uq_accuracy_drops_label_set_id_number")),
    )


def _keys(table: str, **refers_to: str) -> list[Any]:
    """Columns that are the primary key together, each referring to the column of that name."""
    return [
        *(sa.Column(name, sa.Integer(), nullable=False) for name in refers_to),
        *(_refers(table, name, other) for name, other in refers_to.items()),
        sa.PrimaryKeyConstraint(*refers_to, name=op.f(f"pk_{table}")),
    ]


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{other}.{column}"], name=op.f(f"fk_{table}_{column}"))
