"""Jobs and attempts keep the server they were given to, where an engine has several."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("server", sa.String(40)))
    op.add_column("jobs", sa.Column("avoided", sa.JSON()))
    op.add_column("attempts", sa.Column("server", sa.String(40)))
    op.create_table(
        "server_turns",
        sa.Column("engine", sa.String(64), nullable=False),
        sa.Column("server", sa.String(40), nullable=False),
        sa.Column("taken_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("engine", "server", name="pk_server_turns"),
    )


def downgrade() -> None:
    op.drop_table("server_turns")
    op.drop_column("attempts", "server")
    op.drop_column("jobs", "avoided")
    op.drop_column("jobs", "server")
