"""Documents: files that are no pictures of jobs. Uploaded ones have bytes; what batches wrote is a
row only, and written anew each time it is read."""

import hashlib
import uuid
from collections.abc import Sequence
from typing import IO, Any, BinaryIO

import structlog
from sqlalchemy import Row, delete, func, insert, or_, select, tuple_

from darkroom.domain import Document
from darkroom.errors import FileStoreUnavailable, NotFound
from storage.contents import Contents
from storage.database import Database, epoch_now
from storage.files import Files
from storage.tables import documents, job_inputs

log = structlog.get_logger(__name__)

PIECE_BYTES = 1024 * 1024

#: How many expired ones are deleted at once.
MOST_EXPIRED = 100


def new_document_id() -> str:
    return str(uuid.uuid4())


class Documents:
    """All documents and their bytes."""

    def __init__(self, database: Database, store: Files) -> None:
        self._database = database
        self._contents = Contents(store)

    def keep(
        self,
        source: IO[bytes],
        *,
        owner_id: str,
        filename: str,
        purpose: str,
        lasts_s: int | None = None,
    ) -> Document:
        """Keep what can be read from `source`, which can seek. Raises Unavailable."""
        document_id = new_document_id()
        key, size_bytes = _measured(source)
        mine = (job_inputs.c.job_id == document_id, job_inputs.c.file_key == key)
        # Held as the input of a job that never comes until the row is there: when this process
        # dies in between, the bytes are let go of like those of a call that died.
        with self._database.writing() as connection:
            self._contents.lock(connection, key)
            connection.execute(
                insert(job_inputs).values(job_id=document_id, file_key=key, created_at=epoch_now())
            )
        self._contents.put_file(key, source)
        with self._database.writing() as connection:
            row = connection.execute(
                insert(documents)
                .values(
                    id=document_id,
                    owner_id=owner_id,
                    filename=filename,
                    purpose=purpose,
                    size_bytes=size_bytes,
                    file_key=key,
                    created_at=epoch_now(),
                    expires_at=None if lasts_s is None else epoch_now() + lasts_s,
                )
                .returning(documents)
            ).one()
            connection.execute(delete(job_inputs).where(*mine))
        return _document_of(row)

    def get(self, document_id: str, *, owner_id: str | None = None) -> Document:
        """One document, of that owner if one is named. Raises NotFound."""
        query = select(documents).where(documents.c.id == document_id, _is_alive())
        if owner_id is not None:
            query = query.where(documents.c.owner_id == owner_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"There is no file {document_id!r}.")
        return _document_of(row)

    def list(
        self,
        *,
        owner_id: str,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 50,
        is_newest_first: bool = True,
    ) -> Sequence[Document]:
        """An owner's documents; `after` continues behind the one of that id."""
        order = (documents.c.created_at, documents.c.id)
        query = select(documents).where(documents.c.owner_id == owner_id, _is_alive())
        if purpose is not None:
            query = query.where(documents.c.purpose == purpose)
        if after is not None:
            last = self.get(after, owner_id=owner_id)
            place, seen = tuple_(*order), tuple_(last.created_at, last.id)
            query = query.where(place < seen if is_newest_first else place > seen)
        query = query.order_by(*(each.desc() if is_newest_first else each for each in order))
        with self._database.reading() as connection:
            return [_document_of(row) for row in connection.execute(query.limit(limit))]

    def held_bytes(self, owner_id: str) -> int:
        """How much an owner's uploads hold together."""
        query = select(func.coalesce(func.sum(documents.c.size_bytes), 0)).where(
            documents.c.owner_id == owner_id, documents.c.file_key.is_not(None), _is_alive()
        )
        with self._database.reading() as connection:
            return int(connection.scalar(query) or 0)

    def open(self, document: Document) -> BinaryIO:
        """The bytes of an uploaded document. Raises NotFound or Unavailable."""
        if document.file_key is None:
            raise NotFound(f"The file {document.id!r} has no bytes of its own.")
        return self._contents.open(document.file_key)

    def delete(self, document: Document) -> None:
        """Forget a document, and its bytes when nothing else has the same.

        Raises Unavailable, and nothing has changed then.
        """
        with self._database.writing() as connection:
            connection.execute(delete(documents).where(documents.c.id == document.id))
            if document.file_key is not None:
                self._contents.remove_unused(connection, document.file_key)

    def delete_expired(self) -> None:
        """Forget those whose time has come, a few at a time."""
        query = select(documents).where(documents.c.expires_at <= epoch_now()).limit(MOST_EXPIRED)
        with self._database.reading() as connection:
            expired = [_document_of(row) for row in connection.execute(query)]
        for each in expired:
            try:
                self.delete(each)
            except FileStoreUnavailable as error:
                log.warning("expired file not deleted", document_id=each.id, reason=error.detail)


def _is_alive() -> Any:
    return or_(documents.c.expires_at.is_(None), documents.c.expires_at > epoch_now())


def _measured(source: IO[bytes]) -> tuple[str, int]:
    """The key and the size of a file, which is at its start again afterwards."""
    digest, size_bytes = hashlib.sha256(), 0
    source.seek(0)
    while piece := source.read(PIECE_BYTES):
        digest.update(piece)
        size_bytes += len(piece)
    source.seek(0)
    return digest.hexdigest(), size_bytes


def _document_of(row: Row[Any]) -> Document:
    return Document(**row._mapping)
