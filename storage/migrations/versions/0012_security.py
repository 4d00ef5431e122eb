"""Tokens and API keys can end early, and changes by admins are written down."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "users", sa.Column("token_epoch", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("api_keys", sa.Column("expires_at", sa.Double()))
    op.create_table(
        "revoked_tokens",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revoked_tokens"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(36)),
        sa.Column("key_id", sa.String(36)),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("target", sa.String(254)),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.String(128)),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])


def downgrade() -> None:
    op.drop_table("audit")
    op.drop_table("revoked_tokens")
    op.drop_column("api_keys", "expires_at")
    op.drop_column("users", "token_epoch")
