"""What OpenAI's dialect says of batches, beside what the batches themselves do.

One whose input file was wrong is a row here and nothing else. All others have the id of their
batch; what they wrote is named once they are finished.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, insert, select, tuple_, update

from darkroom.domain import Document, LineError, OpenAIBatch
from darkroom.errors import NotFound
from storage.database import Database, epoch_now, upsert
from storage.tables import documents, openai_batches


class OpenAIBatches:
    """All batches that came in OpenAI's dialect."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, new: OpenAIBatch) -> OpenAIBatch:
        """Remember one. Once it is there, adding it again changes nothing."""
        values = asdict(new) | {"errors": [asdict(each) for each in new.errors]}
        with self._database.writing() as connection:
            row = upsert(connection, openai_batches).values(**values | {"created_at": epoch_now()})
            connection.execute(row.on_conflict_do_nothing())
        return self.get(new.id)

    def get(self, batch_id: str, *, owner_id: str | None = None) -> OpenAIBatch:
        """One batch, of that owner if one is named. Raises NotFound."""
        query = select(openai_batches).where(openai_batches.c.id == batch_id)
        if owner_id is not None:
            query = query.where(openai_batches.c.owner_id == owner_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"There is no batch {batch_id!r}.")
        return _batch_of(row)

    def list(
        self, *, owner_id: str, after: str | None = None, limit: int = 20
    ) -> Sequence[OpenAIBatch]:
        """An owner's batches, newest first; `after` continues behind the one of that id."""
        order = (openai_batches.c.created_at, openai_batches.c.id)
        query = select(openai_batches).where(openai_batches.c.owner_id == owner_id)
        if after is not None:
            last = self.get(after, owner_id=owner_id)
            query = query.where(tuple_(*order) < tuple_(last.created_at, last.id))
        query = query.order_by(*(each.desc() for each in order)).limit(limit)
        with self._database.reading() as connection:
            return [_batch_of(row) for row in connection.execute(query)]

    def settle(
        self,
        batch: OpenAIBatch,
        *,
        output: Document | None,
        errors: Document | None,
        is_expired: bool = False,
    ) -> OpenAIBatch:
        """Name what a finished batch wrote. Whoever comes second changes nothing."""
        with self._database.writing() as connection:
            is_first = connection.execute(
                update(openai_batches)
                .where(openai_batches.c.id == batch.id, openai_batches.c.is_settled.is_(False))
                .values(
                    is_settled=True,
                    is_expired=is_expired,
                    output_file_id=output.id if output else None,
                    error_file_id=errors.id if errors else None,
                )
            ).rowcount
            if is_first:
                for each in (output, errors):
                    if each is not None:
                        connection.execute(insert(documents).values(**asdict(each)))
        return self.get(batch.id)


def _batch_of(row: Row[Any]) -> OpenAIBatch:
    errors = tuple(LineError(**each) for each in row.errors)
    return OpenAIBatch(**{**row._mapping, "errors": errors})
