"""Waiting jobs get an order, attempts a record, engines a rest."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "engine_health",
        sa.Column("engine", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("rests_until", sa.Double(), nullable=True),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("engine", name=op.f("pk_engine_health")),
    )
    op.create_table(
        "turns",
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.Column("taken_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_turns_owner_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("owner_id", name=op.f("pk_turns")),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("engine", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_attempts")),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index(
            "ix_attempts_engine_model_ended_at", ["engine", "model", "ended_at"], unique=False
        )

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("lane", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("revision", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("not_before", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("deadline", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("retry_of", sa.String(length=36), nullable=True))
        batch_op.drop_index(batch_op.f("ix_jobs_status_created_at"))
        batch_op.create_index("ix_jobs_created_at", ["created_at"], unique=False)
        batch_op.create_index(
            "ix_jobs_deadline",
            ["deadline"],
            unique=False,
            sqlite_where=sa.text("deadline IS NOT NULL AND finished_at IS NULL"),
            postgresql_where=sa.text("deadline IS NOT NULL AND finished_at IS NULL"),
        )
        batch_op.create_index(
            "ix_jobs_owned",
            ["owner_id"],
            unique=False,
            sqlite_where=sa.text("status IN ('running', 'canceling')"),
            postgresql_where=sa.text("status IN ('running', 'canceling')"),
        )
        batch_op.create_index(
            "ix_jobs_queued",
            ["owner_id"],
            unique=False,
            sqlite_where=sa.text("status = 'queued'"),
            postgresql_where=sa.text("status = 'queued'"),
        )
        batch_op.create_index(
            "ix_jobs_sent",
            ["engine", "lane"],
            unique=False,
            sqlite_where=sa.text("status = 'queued' AND sent_at IS NOT NULL"),
            postgresql_where=sa.text("status = 'queued' AND sent_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_jobs_waiting",
            ["engine", "lane", "owner_id", "created_at"],
            unique=False,
            sqlite_where=sa.text("status = 'queued' AND sent_at IS NULL"),
            postgresql_where=sa.text("status = 'queued' AND sent_at IS NULL"),
        )


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_jobs_waiting",
            sqlite_where=sa.text("status = 'queued' AND sent_at IS NULL"),
            postgresql_where=sa.text("status = 'queued' AND sent_at IS NULL"),
        )
        batch_op.drop_index(
            "ix_jobs_sent",
            sqlite_where=sa.text("status = 'queued' AND sent_at IS NOT NULL"),
            postgresql_where=sa.text("status = 'queued' AND sent_at IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_jobs_queued",
            sqlite_where=sa.text("status = 'queued'"),
            postgresql_where=sa.text("status = 'queued'"),
        )
        batch_op.drop_index(
            "ix_jobs_owned",
            sqlite_where=sa.text("status IN ('running', 'canceling')"),
            postgresql_where=sa.text("status IN ('running', 'canceling')"),
        )
        batch_op.drop_index(
            "ix_jobs_deadline",
            sqlite_where=sa.text("deadline IS NOT NULL AND finished_at IS NULL"),
            postgresql_where=sa.text("deadline IS NOT NULL AND finished_at IS NULL"),
        )
        batch_op.drop_index("ix_jobs_created_at")
        batch_op.create_index(
            batch_op.f("ix_jobs_status_created_at"), ["status", "created_at"], unique=False
        )
        batch_op.drop_column("retry_of")
        batch_op.drop_column("deadline")
        batch_op.drop_column("not_before")
        batch_op.drop_column("revision")
        batch_op.drop_column("lane")

    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index("ix_attempts_engine_model_ended_at")

    op.drop_table("attempts")
    op.drop_table("turns")
    op.drop_table("engine_health")
