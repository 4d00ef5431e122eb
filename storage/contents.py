"""Contents: bytes that are kept once, under their hash, as long as a row names them.

Four tables name them: images, the claims of attempts that are about to make images, the inputs of
jobs, and documents.
"""

import hashlib
from functools import cache
from typing import IO, BinaryIO

from sqlalchemy import Connection, Insert, delete, exists, or_, select

from storage.database import epoch_now, upsert_for
from storage.files import Files
from storage.tables import documents, file_claims, files, images, job_inputs

#: Widths a thumbnail may have, in pixels; a request takes the next larger one.
THUMBNAIL_WIDTHS = (64, 128, 256, 512, 1024)


def key_of(data: bytes) -> str:
    """The name of the file that holds these bytes."""
    return hashlib.sha256(data).hexdigest()


class Contents:
    """The files that rows name by their key."""

    def __init__(self, store: Files) -> None:
        self._files = store

    def put(self, key: str, data: bytes) -> None:
        """Write the bytes of a key that a committed row names. Raises Unavailable."""
        self._files.put(_path(key), data)

    def put_file(self, key: str, source: IO[bytes]) -> None:
        """The same, from a file that need not fit into memory."""
        self._files.put_file(_path(key), source)

    def open(self, key: str) -> BinaryIO:
        """Raises NotFound or Unavailable."""
        return self._files.open(_path(key))

    def lock(self, connection: Connection, key: str) -> None:
        """Own a file's row, be it there or not, until the transaction ends.

        Nobody else can name or remove the file before.
        """
        connection.execute(_locking(connection.dialect.name), {"key": key})

    def remove_unused(self, connection: Connection, key: str) -> None:
        """Delete a file that no row names.

        The one slow thing inside a transaction: the row's lock keeps a worker that is about to
        use the same bytes waiting until the file is gone, and it then writes them again. When the
        store does not answer, nothing has changed and it can be tried again.
        """
        # Lock first, look second: a look in the same statement would not see what the
        # transaction that was waited for has committed.
        self.lock(connection, key)
        used = select(
            or_(
                *(
                    exists().where(table.c.file_key == key)
                    for table in (images, file_claims, job_inputs, documents)
                )
            )
        )
        if connection.scalar(used):
            return
        connection.execute(delete(files).where(files.c.key == key))
        for width in THUMBNAIL_WIDTHS:
            self._files.delete(thumbnail_path(key, width))
        self._files.delete(_path(key))


@cache
def _locking(dialect: str) -> Insert:
    row = upsert_for(dialect, files).values(created_at=epoch_now())
    return row.on_conflict_do_update(index_elements=[files.c.key], set_={"key": row.excluded.key})


def thumbnail_path(key: str, width: int) -> str:
    """Where the store keeps the small version of a picture."""
    return f"thumbnails/{key[:2]}/{key}-{width}"


def _path(key: str) -> str:
    return f"images/{key[:2]}/{key}"
