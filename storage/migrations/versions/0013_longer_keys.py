"""A server is known to the breaker by its engine's name and its own."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("engine_health") as table:
        table.alter_column("engine", type_=sa.String(105), existing_nullable=False)


def downgrade() -> None:
    op.execute("DELETE FROM engine_health WHERE length(engine) > 64")
    with op.batch_alter_table("engine_health") as table:
        table.alter_column("engine", type_=sa.String(64), existing_nullable=False)
