"""Many requests are handed over at once, as a batch."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

QUEUED = sa.text("status = 'queued'")
QUEUED_ALONE = sa.text("status = 'queued' AND batch_id IS NULL")
QUEUED_IN_A_BATCH = sa.text("status = 'queued' AND batch_id IS NOT NULL")
IN_A_BATCH = sa.text("batch_id IS NOT NULL")
RESULTS = sa.text("batch_id IS NOT NULL AND finished_at IS NOT NULL")
CANCELED = sa.text("cancel_requested_at IS NOT NULL")
UNPLANTED = sa.text("planted < total AND cancel_requested_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=200)),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.String(length=128)),
        sa.Column("idempotency_key", sa.String(length=255)),
        sa.Column("request_hash", sa.String(length=64)),
        sa.Column("retry_of", sa.String(length=36)),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("planted", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("cancel_requested_at", sa.Double()),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_batches_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint(
            "owner_id", "idempotency_key", name=op.f("uq_batches_owner_id_idempotency_key")
        ),
    )
    op.create_index("ix_batches_owner_id_created_at", "batches", ["owner_id", "created_at"])
    op.create_index(
        "ix_batches_canceled",
        "batches",
        ["cancel_requested_at"],
        sqlite_where=CANCELED,
        postgresql_where=CANCELED,
    )
    op.create_index(
        "ix_batches_unplanted",
        "batches",
        ["owner_id", "created_at"],
        sqlite_where=UNPLANTED,
        postgresql_where=UNPLANTED,
    )
    op.create_table(
        "batch_chunks",
        sa.Column("batch_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_batch_chunks_batch_id")
        ),
        sa.PrimaryKeyConstraint("batch_id", "position", name=op.f("pk_batch_chunks")),
    )
    op.add_column("jobs", sa.Column("batch_id", sa.String(length=36)))
    op.add_column("jobs", sa.Column("batch_position", sa.Integer()))
    op.add_column("jobs", sa.Column("batch_line", sa.Integer()))
    op.add_column("jobs", sa.Column("custom_id", sa.String(length=256)))
    op.create_index(
        "ix_jobs_batch",
        "jobs",
        ["batch_id", "status"],
        sqlite_where=IN_A_BATCH,
        postgresql_where=IN_A_BATCH,
    )
    op.create_index(
        "ix_jobs_results",
        "jobs",
        ["batch_id", "finished_at", "id"],
        sqlite_where=RESULTS,
        postgresql_where=RESULTS,
    )
    op.drop_index("ix_jobs_queued", "jobs")
    op.create_index(
        "ix_jobs_queued",
        "jobs",
        ["owner_id"],
        sqlite_where=QUEUED_ALONE,
        postgresql_where=QUEUED_ALONE,
    )
    op.create_index(
        "ix_jobs_batched",
        "jobs",
        ["owner_id"],
        sqlite_where=QUEUED_IN_A_BATCH,
        postgresql_where=QUEUED_IN_A_BATCH,
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_batched", "jobs")
    op.drop_index("ix_jobs_queued", "jobs")
    op.create_index(
        "ix_jobs_queued", "jobs", ["owner_id"], sqlite_where=QUEUED, postgresql_where=QUEUED
    )
    op.drop_index("ix_jobs_results", "jobs")
    op.drop_index("ix_jobs_batch", "jobs")
    for name in ("custom_id", "batch_line", "batch_position", "batch_id"):
        op.drop_column("jobs", name)
    op.drop_table("batch_chunks")
    op.drop_table("batches")
