"""Roles have limits, and accounts may have their own."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "roles",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.Column("max_running", sa.Integer()),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_roles")),
    )
    op.add_column("users", sa.Column("limits", sa.JSON()))
    op.add_column("users", sa.Column("max_running", sa.Integer()))


def downgrade() -> None:
    op.drop_column("users", "max_running")
    op.drop_column("users", "limits")
    op.drop_table("roles")
