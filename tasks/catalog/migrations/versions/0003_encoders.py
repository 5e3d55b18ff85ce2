"""An encoder's precision and way of decoding, and what it made of the reference photos."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """The encoders there are decode exactly and multiply in float32: there was nothing else."""
    op.add_column("encoders", sa.Column("precision", sa.Text(), nullable=False, server_default="float32"))
    op.add_column("encoders", sa.Column("decode", sa.Text(), nullable=False, server_default="exact"))
    op.create_table(
        "reference_vectors",
        sa.Column("encoder_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["encoder_id"], ["encoders.encoder_id"], name=op.f("fk_reference_vectors_encoder_id")
        ),
        sa.PrimaryKeyConstraint("encoder_id", "sha256", name=op.f("pk_reference_vectors")),
    )
