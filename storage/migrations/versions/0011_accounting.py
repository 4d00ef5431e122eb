# ruff: noqa: S608 - every part of the statements is written here
"""What is drawn and spent is counted per user and day, by the database itself.

Triggers keep the tallies, so that no way in which a job ends is left out, nor a worker of the
release before. What a row counts for follows from the row alone: see `IMAGES` and `COST`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

#: How many pictures a job counts for: all it asked for until it ends, then those that it drew.
#: What may have been drawn without us counts as drawn.
IMAGES = """
    CASE {row}.status
        WHEN 'succeeded' THEN coalesce({row}.drawn, {asked})
        WHEN 'canceled' THEN 0
        WHEN 'failed' THEN CASE WHEN {code} = 'outcome_unknown' THEN {asked} ELSE 0 END
        ELSE {asked}
    END
"""

#: How much money a job counts for, in millionths. A call that was canceled while it ran may have
#: been charged, like one whose outcome is unknown.
COST = """
    CASE {row}.status
        WHEN 'succeeded' THEN coalesce({row}.cost, {row}.estimated_cost, 0)
        WHEN 'canceled' THEN
            CASE WHEN {row}.worker IS NULL THEN 0 ELSE coalesce({row}.estimated_cost, 0) END
        WHEN 'failed' THEN
            CASE WHEN {code} = 'outcome_unknown' THEN coalesce({row}.estimated_cost, 0) ELSE 0 END
        ELSE coalesce({row}.estimated_cost, 0)
    END
"""

ADD = """
    ON CONFLICT (owner_id, day, slot) DO UPDATE
    SET images = tallies.images + excluded.images, cost = tallies.cost + excluded.cost
"""

COUNTED_COLUMNS = "status, drawn, cost, estimated_cost"

TRIGGERS = {
    "tally_new_job": "jobs",
    "tally_changed_job": "jobs",
    "tally_new_chunk": "batch_chunks",
    "tally_planted_chunk": "batch_chunks",
    "tally_canceled_batch": "batches",
}


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_tallies_owner_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("owner_id", "day", "slot", name=op.f("pk_tallies")),
    )
    op.add_column("users", sa.Column("quotas", sa.JSON()))
    op.add_column("jobs", sa.Column("estimated_cost", sa.BigInteger()))
    op.add_column("jobs", sa.Column("cost", sa.BigInteger()))
    op.add_column("jobs", sa.Column("drawn", sa.Integer()))
    op.add_column("jobs", sa.Column("drawn_bytes", sa.BigInteger()))
    op.add_column("batch_chunks", sa.Column("images", sa.Integer()))
    op.add_column("batch_chunks", sa.Column("cost", sa.BigInteger()))
    op.add_column("batch_chunks", sa.Column("costs", sa.JSON()))
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for each in _for_postgresql() if is_postgresql else _for_sqlite():
        op.get_bind().exec_driver_sql(each)


def downgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for name, table in TRIGGERS.items():
        op.execute(f"DROP TRIGGER {name}" + (f" ON {table}" if is_postgresql else ""))
        if is_postgresql:
            op.execute(f"DROP FUNCTION {name}()")
    if is_postgresql:
        op.execute("DROP FUNCTION tally(text, double precision, bigint, bigint)")
    for column in ("costs", "cost", "images"):
        op.drop_column("batch_chunks", column)
    for column in ("drawn_bytes", "drawn", "cost", "estimated_cost"):
        op.drop_column("jobs", column)
    op.drop_column("users", "quotas")
    op.drop_table("tallies")


def _for_sqlite() -> list[str]:
    def counted(row: str) -> tuple[str, str]:
        asked = f"coalesce(json_extract({row}.request, '$.count'), 1)"
        code = f"json_extract({row}.error, '$.code')"
        return (
            IMAGES.format(row=row, asked=asked, code=code),
            COST.format(row=row, asked=asked, code=code),
        )

    (images, cost), (images_before, cost_before) = counted("NEW"), counted("OLD")
    of_job = "NEW.owner_id, CAST(NEW.created_at / 86400 AS INTEGER), 0"
    of_batch = "batches.owner_id, CAST(batches.created_at / 86400 AS INTEGER), 0"
    into = "INSERT INTO tallies (owner_id, day, slot, images, cost)"
    return [
        f"""CREATE TRIGGER tally_new_job AFTER INSERT ON jobs BEGIN
            {into} SELECT {of_job}, {images}, {cost} WHERE true {ADD};
        END""",
        f"""CREATE TRIGGER tally_changed_job AFTER UPDATE OF {COUNTED_COLUMNS} ON jobs
        WHEN {images} <> {images_before} OR {cost} <> {cost_before} BEGIN
            {into} SELECT {of_job}, {images} - {images_before}, {cost} - {cost_before}
            WHERE true {ADD};
        END""",
        f"""CREATE TRIGGER tally_new_chunk AFTER INSERT ON batch_chunks
        WHEN NEW.images IS NOT NULL BEGIN
            {into} SELECT {of_batch}, NEW.images, coalesce(NEW.cost, 0)
            FROM batches WHERE batches.id = NEW.batch_id {ADD};
        END""",
        f"""CREATE TRIGGER tally_planted_chunk AFTER DELETE ON batch_chunks
        WHEN OLD.images IS NOT NULL BEGIN
            {into} SELECT {of_batch}, -OLD.images, -coalesce(OLD.cost, 0)
            FROM batches WHERE batches.id = OLD.batch_id
            AND batches.cancel_requested_at IS NULL {ADD};
        END""",
        f"""CREATE TRIGGER tally_canceled_batch AFTER UPDATE OF cancel_requested_at ON batches
        WHEN OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL BEGIN
            {into} SELECT {of_job}, -coalesce(sum(images), 0), -coalesce(sum(cost), 0)
            FROM batch_chunks WHERE batch_id = NEW.id HAVING count(*) > 0 {ADD};
        END""",
    ]


def _for_postgresql() -> list[str]:
    def counted(row: str) -> tuple[str, str]:
        asked = f"coalesce(({row}.request->>'count')::int, 1)"
        code = f"{row}.error->>'code'"
        return (
            IMAGES.format(row=row, asked=asked, code=code),
            COST.format(row=row, asked=asked, code=code),
        )

    (images, cost), (images_before, cost_before) = counted("NEW"), counted("OLD")
    of_job = "NEW.owner_id, NEW.created_at"
    changes = " OR ".join(
        f"OLD.{each} IS DISTINCT FROM NEW.{each}" for each in COUNTED_COLUMNS.split(", ")
    )

    def trigger(name: str, when: str, body: str) -> list[str]:
        return [
            f"""CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN {body} RETURN NULL; END $$""",
            f"CREATE TRIGGER {name} AFTER {when} EXECUTE FUNCTION {name}()",
        ]

    return [
        # Each connection has a slot of its own, mostly: jobs of one user that end at one moment
        # do not wait for each other's commit.
        f"""CREATE FUNCTION tally(owner text, at double precision, pictures bigint, money bigint)
        RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            IF pictures <> 0 OR money <> 0 THEN
                INSERT INTO tallies (owner_id, day, slot, images, cost)
                VALUES (owner, floor(at / 86400)::int, mod(pg_backend_pid(), 16), pictures, money)
                {ADD};
            END IF;
        END $$""",
        *trigger(
            "tally_new_job",
            "INSERT ON jobs FOR EACH ROW",
            f"PERFORM tally({of_job}, {images}, {cost});",
        ),
        *trigger(
            "tally_changed_job",
            f"UPDATE OF {COUNTED_COLUMNS} ON jobs FOR EACH ROW WHEN ({changes})",
            f"""PERFORM tally(
                {of_job}, ({images}) - ({images_before}), ({cost}) - ({cost_before})
            );""",
        ),
        *trigger(
            "tally_new_chunk",
            "INSERT ON batch_chunks FOR EACH ROW WHEN (NEW.images IS NOT NULL)",
            """PERFORM tally(owner_id, created_at, NEW.images, coalesce(NEW.cost, 0))
            FROM batches WHERE id = NEW.batch_id;""",
        ),
        *trigger(
            "tally_planted_chunk",
            "DELETE ON batch_chunks FOR EACH ROW WHEN (OLD.images IS NOT NULL)",
            """PERFORM tally(owner_id, created_at, -OLD.images, -coalesce(OLD.cost, 0))
            FROM batches WHERE id = OLD.batch_id AND cancel_requested_at IS NULL;""",
        ),
        *trigger(
            "tally_canceled_batch",
            """UPDATE OF cancel_requested_at ON batches FOR EACH ROW
            WHEN (OLD.cancel_requested_at IS NULL AND NEW.cancel_requested_at IS NOT NULL)""",
            f"""PERFORM tally(
                {of_job}, -coalesce(sum(images), 0)::bigint, -coalesce(sum(cost), 0)::bigint
            ) FROM batch_chunks WHERE batch_id = NEW.id;""",
        ),
    ]
