"""Work is leased, runs show that they live, quarantine has a retry budget, vectors as halfvec."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BYTE_ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
HALFVEC_SINCE = (0, 7)  # pgvector


def upgrade() -> None:
    """Makes the list of work anew, empty (the next scan fills it), and adds columns."""
    op.drop_table("work")
    op.create_table(
        "work",
        sa.Column("work_id", sa.Integer(), nullable=False),
        sa.Column("uri", BYTE_ORDERED, nullable=False),
        sa.Column("change_token", sa.Text(), nullable=False),
        sa.Column("first_run_id", sa.Integer(), nullable=False),
        sa.Column("last_run_id", sa.Integer(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["first_run_id"], ["runs.run_id"], name=op.f("fk_work_first_run_id")),
        sa.ForeignKeyConstraint(["last_run_id"], ["runs.run_id"], name=op.f("fk_work_last_run_id")),
        sa.PrimaryKeyConstraint("work_id", name=op.f("pk_work")),
        sa.UniqueConstraint("uri", name=op.f("uq_work_uri")),
    )
    op.create_index(op.f("ix_work_owner"), "work", ["owner"])
    op.create_index(op.f("ix_work_last_run_id_claims_work_id"), "work", ["last_run_id", "claims", "work_id"])
    op.add_column("runs", sa.Column("owner", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("alive_until", sa.DateTime(timezone=True), nullable=True))
    op.create_index("uq_runs_owner", "runs", ["owner"], unique=True)
    op.add_column("shards", sa.Column("newly_quarantined", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("shards", sa.Column("photos", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("shards", sa.Column("claim", sa.Text(), nullable=True))
    op.create_index("uq_shards_claim", "shards", ["claim"], unique=True)
    op.add_column("quarantine", sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        _use_halfvec()


def _use_halfvec() -> None:
    """Only where no vector stands yet: bytes cannot be cast, and serve as well."""
    connection = op.get_bind()
    if connection.execute(sa.text("SELECT 1 FROM embeddings LIMIT 1")).first() or not _has_pgvector():
        return
    op.execute("ALTER TABLE embeddings ALTER COLUMN vector TYPE halfvec USING NULL")


def _has_pgvector() -> bool:
    """True if pgvector is installed in the database or can be, by this user, in a version with halfvec."""
    connection = op.get_bind()
    version = connection.execute(
        sa.text(
            "SELECT COALESCE(installed_version, default_version) FROM pg_available_extensions"
            " WHERE name = 'vector'"
        )
    ).scalar()
    if version is None or tuple(int(part) for part in version.split(".")[:2]) < HALFVEC_SINCE:
        return False
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS vector"))
    except sa.exc.DBAPIError:  # no right to
        return False
    # It may lie in a schema that is not searched.
    return connection.execute(sa.text("SELECT to_regtype('halfvec')")).scalar() is not None
