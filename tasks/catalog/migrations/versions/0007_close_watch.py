"""Close watches: of promotions that retrainings make from now on, and of the last one if it is recent."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds a table."""
    op.create_table(
        "close_watches",
        sa.Column("close_watch_id", sa.Integer(), nullable=False),
        sa.Column("retraining_id", sa.Integer(), nullable=False),
        sa.Column("champion_id", sa.Integer(), nullable=False),
        sa.Column("replaced_id", sa.Integer(), nullable=False),
        sa.Column("begun_at", TIME, nullable=False),
        sa.Column("ends_at", TIME, nullable=False),
        sa.Column("truth_id", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("gains", sa.Integer(), nullable=False),
        sa.Column("e_value", sa.Double(), nullable=False),
        sa.Column("looked_at", TIME, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("told", sa.Text(), nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["retraining_id"], ["retrainings.retraining_id"], name=op.f("fk_close_watches_retraining_id")
        ),
        sa.ForeignKeyConstraint(
            ["champion_id"], ["model_versions.model_version_id"], name=op.f("fk_close_watches_champion_id")
        ),
        sa.ForeignKeyConstraint(
            ["replaced_id"], ["model_versions.model_version_id"], name=op.f("fk_close_watches_replaced_id")
        ),
        sa.PrimaryKeyConstraint("close_watch_id", name=op.f("pk_close_watches")),
        sa.UniqueConstraint("retraining_id", name=op.f("uq_close_watches_retraining_id")),
        sa.CheckConstraint(
            "outcome IN ('watching', 'held', 'rolled_back', 'ended')", name=op.f("ck_close_watches_outcome")
        ),
    )
    op.create_index(op.f("ix_close_watches_champion_id"), "close_watches", ["champion_id"])
