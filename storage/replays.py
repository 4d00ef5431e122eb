"""Replays: a request that is sent again under its idempotency key finds what the first one made."""

from typing import Any

from sqlalchemy import Row, Table, select

from darkroom.errors import IdempotencyConflict
from storage.database import Database


def earlier_row(
    database: Database, table: Table, owner_id: str, idempotency_key: str, request_hash: str | None
) -> Row[Any] | None:
    """The row that the owner's request with this key made, if there was one.

    Raises IdempotencyConflict when that one asked for something else.
    """
    query = select(table).where(
        table.c.owner_id == owner_id, table.c.idempotency_key == idempotency_key
    )
    with database.reading() as connection:
        row = connection.execute(query).one_or_none()
    if row is not None and row.request_hash != request_hash:
        raise IdempotencyConflict(
            "This Idempotency-Key was used before with another request: use a new key for a new"
            " request.",
            param="Idempotency-Key",
        )
    return row
