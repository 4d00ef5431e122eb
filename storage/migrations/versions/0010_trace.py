"""Jobs keep where in a trace they were accepted."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("trace", sa.String(64)))


def downgrade() -> None:
    op.drop_column("jobs", "trace")
