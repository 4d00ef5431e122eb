"""Jobs keep what their pictures took in tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("usage", sa.JSON()))


def downgrade() -> None:
    op.drop_column("jobs", "usage")
