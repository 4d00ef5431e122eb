"""The audit log: who did what, and from where. Entries are added and grow old; none is changed."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, case, delete, func, insert, select, tuple_

from darkroom.domain import Action, AuditEntry, Outcome
from darkroom.errors import NotFound
from storage.database import Database, epoch_now
from storage.tables import LONGEST_TARGET, audit

DAY_S = 24 * 3600.0

#: SQLite's clock counts milliseconds: what is written down within one keeps its order.
NEWEST = select(func.max(audit.c.at)).where(audit.c.at < epoch_now() + 0.001).scalar_subquery()
AT = case((epoch_now() <= NEWEST, NEWEST + 1e-6), else_=epoch_now())


class Audit:
    """All entries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        action: Action,
        *,
        outcome: Outcome = Outcome.DONE,
        user_id: str | None = None,
        key_id: str | None = None,
        address: str,
        target: str | None = None,
        fields: Sequence[str] = (),
        request_id: str | None = None,
    ) -> None:
        """Write down what was done, at this moment."""
        with self._database.writing() as connection:
            connection.execute(
                insert(audit).values(
                    id=str(uuid.uuid4()),
                    at=AT,
                    action=action,
                    outcome=outcome,
                    user_id=user_id,
                    key_id=key_id,
                    address=address,
                    target=target[:LONGEST_TARGET] if target is not None else None,
                    fields=sorted(fields),
                    request_id=request_id,
                )
            )

    def list(
        self,
        *,
        action: Action | None = None,
        outcome: Outcome | None = None,
        user_id: str | None = None,
        target: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Sequence[AuditEntry]:
        """The newest entries first; `after` goes on behind the entry with that id.

        Times are Unix times: from `since`, before `until`. Raises NotFound for an `after` there
        is not.
        """
        query = select(audit).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
        for column, wanted in (
            (audit.c.action, action),
            (audit.c.outcome, outcome),
            (audit.c.user_id, user_id),
            (audit.c.target, target),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if since is not None:
            query = query.where(audit.c.at >= since)
        if until is not None:
            query = query.where(audit.c.at < until)
        with self._database.reading() as connection:
            if after is not None:
                last = connection.execute(select(audit).where(audit.c.id == after)).one_or_none()
                if last is None:
                    raise NotFound(f"There is no entry {after!r} in the audit log.")
                query = query.where(tuple_(audit.c.at, audit.c.id) < tuple_(last.at, last.id))
            return [_entry(row) for row in connection.execute(query)]

    def prune(self, *, days: float) -> int:
        """Remove what is older than that, and say how much it was."""
        with self._database.writing() as connection:
            return connection.execute(
                delete(audit).where(audit.c.at < epoch_now() - days * DAY_S)
            ).rowcount


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        action=row.action,
        outcome=row.outcome,
        user_id=row.user_id,
        key_id=row.key_id,
        address=row.address,
        target=row.target,
        fields=tuple(row.fields),
        request_id=row.request_id,
    )
