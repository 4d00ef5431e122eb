"""Jobs work on pictures that were sent to them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_inputs",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("file_key", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["file_key"], ["files.key"], name=op.f("fk_job_inputs_file_key")),
        sa.PrimaryKeyConstraint("job_id", "file_key", name=op.f("pk_job_inputs")),
    )
    op.create_index(op.f("ix_job_inputs_file_key"), "job_inputs", ["file_key"])


def downgrade() -> None:
    op.drop_index(op.f("ix_job_inputs_file_key"), table_name="job_inputs")
    op.drop_table("job_inputs")
