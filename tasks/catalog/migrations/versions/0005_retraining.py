"""Versions that were made of others, attempts at that, verdicts, decisions, and the truth that was used."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds columns and tables; the models there are, have neither heads nor folders of their own."""
    op.add_column("encoders", sa.Column("generation", sa.Integer(), nullable=False, server_default="1"))
    for name in ("digest", "head", "made"):
        op.add_column("model_versions", sa.Column(name, sa.Text(), nullable=True))
    op.create_table(
        "retrainings",
        sa.Column("retraining_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("champion_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rung", sa.Text(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("minimum_gain", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("truth_id", sa.Integer(), nullable=False),
        sa.Column("prefect_flow_run_id", sa.Text(), nullable=True),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("told", sa.Text(), nullable=True),
        sa.Column("is_open", sa.SmallInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_retrainings_run_id")),
        sa.ForeignKeyConstraint(
            ["champion_id"], ["model_versions.model_version_id"], name=op.f("fk_retrainings_champion_id")
        ),
        sa.PrimaryKeyConstraint("retraining_id", name=op.f("pk_retrainings")),
    )
    op.create_index("uq_retrainings_is_open", "retrainings", ["is_open"], unique=True)
    _create_gates()
    op.create_table(
        "training_truths",
        sa.Column("model_version_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("truth_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_version_id", "truth_id", name=op.f("pk_training_truths")),
        sqlite_with_rowid=False,
    )


def _create_gates() -> None:
    op.create_table(
        "gates",
        sa.Column("gate_id", sa.Integer(), nullable=False),
        sa.Column("retraining_id", sa.Integer(), nullable=False),
        sa.Column("rung", sa.Text(), nullable=False),
        sa.Column("challenger_id", sa.Integer(), nullable=True),
        sa.Column("level", sa.Double(), nullable=False),
        sa.Column("passed", sa.SmallInteger(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("judged_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["retraining_id"], ["retrainings.retraining_id"], name=op.f("fk_gates_retraining_id")
        ),
        sa.ForeignKeyConstraint(
            ["challenger_id"], ["model_versions.model_version_id"], name=op.f("fk_gates_challenger_id")
        ),
        sa.PrimaryKeyConstraint("gate_id", name=op.f("pk_gates")),
        sa.UniqueConstraint("retraining_id", "rung", name=op.f("uq_gates_retraining_id_rung")),
    )
    op.create_index(op.f("ix_gates_challenger_id"), "gates", ["challenger_id"])
    op.create_table(
        "decisions",
        sa.Column("gate_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("approved", sa.SmallInteger(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["gate_id"], ["gates.gate_id"], name=op.f("fk_decisions_gate_id")),
        sa.PrimaryKeyConstraint("gate_id", name=op.f("pk_decisions")),
    )
