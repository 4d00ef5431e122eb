"""Files are uploaded, and batches are handed over as files and write files."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

EXPIRING = sa.text("expires_at IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_key", sa.String(length=64)),
        sa.Column("batch_id", sa.String(length=36)),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_documents_owner_id")),
        sa.ForeignKeyConstraint(["file_key"], ["files.key"], name=op.f("fk_documents_file_key")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
    )
    op.create_index(op.f("ix_documents_file_key"), "documents", ["file_key"])
    op.create_index("ix_documents_owner_id_created_at", "documents", ["owner_id", "created_at"])
    op.create_index(
        "ix_documents_expires_at",
        "documents",
        ["expires_at"],
        sqlite_where=EXPIRING,
        postgresql_where=EXPIRING,
    )
    op.create_table(
        "openai_batches",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.Column("input_file_id", sa.String(length=36), nullable=False),
        sa.Column("endpoint", sa.String(length=64), nullable=False),
        sa.Column("completion_window", sa.String(length=16), nullable=False),
        sa.Column("metadata", sa.JSON()),
        sa.Column("errors", sa.JSON(), nullable=False),
        sa.Column("output_expires_s", sa.Integer()),
        sa.Column("output_file_id", sa.String(length=36)),
        sa.Column("error_file_id", sa.String(length=36)),
        sa.Column("is_settled", sa.Boolean(), nullable=False),
        sa.Column("is_expired", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_openai_batches_owner_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_openai_batches")),
    )
    op.create_index(
        "ix_openai_batches_owner_id_created_at", "openai_batches", ["owner_id", "created_at"]
    )


def downgrade() -> None:
    op.drop_table("openai_batches")
    op.drop_table("documents")
