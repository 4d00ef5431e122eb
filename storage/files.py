"""Files: the bytes of pictures, in a local folder or an object store."""

import contextlib
import io
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.exceptions import NotFoundError as StoreNotFound
from obstore.store import LocalStore

from darkroom.errors import FileStoreUnavailable, NotFound, SettingsError
from darkroom.watch.meters import meters
from storage.stores import open_store

#: What a local store calls the files it has not finished yet: the key, this, and a number from 1.
#: More than so many writers of the same bytes at once are not looked for.
DRAFT = "#"
MOST_DRAFTS = 8


class Files:
    """One file store, opened by URL: `file:///folder`, `s3://bucket/prefix`, `gs://…`, `az://…`.

    Object stores take their credentials from the environment, by their vendors' own names, and
    options from the URL: `?endpoint=http://host:9000`. Raises FileStoreUnavailable wherever the
    store does not answer, at most a minute later.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._folder: Path | None = None
        try:
            if parts.scheme == "file":
                if parts.netloc not in ("", "localhost"):
                    raise ValueError(f"{parts.netloc!r} is no folder of this machine")
                self._folder = Path(unquote(parts.path))
                self._folder.mkdir(parents=True, exist_ok=True)
                self._store: obstore.store.ObjectStore = LocalStore(self._folder)
                self._uploads: obstore.store.ObjectStore = self._store
            else:
                self._store = open_store(url, for_uploads=False)
                self._uploads = (
                    self._store if parts.scheme == "memory" else open_store(url, for_uploads=True)
                )
        except (BaseError, ValueError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise SettingsError(
                f"DARKROOM_STORAGE_URL cannot be used: {reason}. Give file:///folder, or"
                " s3://, gs:// or az:// and a bucket."
            ) from error

    def put(self, key: str, data: bytes) -> None:
        """Keep `data` as `key`: all of it or nothing, and on the disk when this returns.

        Keys name their content, so that one that is kept already is left as it is, unless a power
        cut left only a part of it.
        """
        with _translated():
            try:
                obstore.put(self._uploads, key, data, mode="create", use_multipart=False)
            except BaseError:
                # It is there already; or our draft is not, since a quicker writer of the same bytes
                # took it for one that was left behind.
                size_bytes = self._size(key)
                if size_bytes is None:
                    raise
                if size_bytes != len(data):
                    obstore.put(self._uploads, key, data, use_multipart=False)
            if self._folder is not None:
                _flush(self._folder / key)
            self._drop_drafts(key)

    def put_file(self, key: str, source: IO[bytes]) -> None:
        """Keep what can be read from `source` as `key`, as `put` does, without holding all of it.

        What is kept already is written again.
        """
        with _translated():
            obstore.put(self._uploads, key, source, use_multipart=True)
            if self._folder is not None:
                _flush(self._folder / key)

    def replace(self, key: str, data: bytes) -> None:
        """Keep `data` as `key`, in place of what was there: all of it or nothing."""
        with _translated():
            obstore.put(self._uploads, key, data, use_multipart=False)

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading; it can seek. Raises NotFound."""
        with _translated():
            if self._folder is not None:
                return (self._folder / key).open("rb")
            return cast(BinaryIO, io.BufferedReader(_Remote(self._store, key)))

    def read(self, key: str) -> bytes:
        """The whole file. Raises NotFound."""
        with self.open(key) as file:
            return file.read()

    def exists(self, key: str) -> bool:
        try:
            with _translated():
                obstore.head(self._store, key)
        except NotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        """Forget a file; one that is gone already is no error."""
        with contextlib.suppress(NotFound), _translated():
            self._drop_drafts(key)
            obstore.delete(self._store, key)

    def keys(self) -> list[str]:
        """Every key in the store, sorted."""
        with _translated():
            return sorted(meta["path"] for batch in obstore.list(self._store) for meta in batch)

    def rehearse(self) -> None:
        """Keep, read and delete a small file. Raises FileStoreUnavailable."""
        key, data = f"rehearsal-{uuid.uuid4()}", b"a file that is kept for a moment"
        self.put(key, data)
        try:
            if self.read(key) != data:
                raise FileStoreUnavailable("The file store did not return what was kept in it.")
        finally:
            self.delete(key)

    def free_bytes(self) -> int | None:
        """Room left on the disk of a local folder; None for an object store."""
        return None if self._folder is None else shutil.disk_usage(self._folder).free

    def check(self) -> None:
        """Raises FileStoreUnavailable when nothing can be kept."""
        if self._folder is None:
            with _translated():
                obstore.list_with_delimiter(self._store)
        elif not os.access(self._folder, os.W_OK):
            raise FileStoreUnavailable("The folder for pictures cannot be written to.")

    def _size(self, key: str) -> int | None:
        try:
            return obstore.head(self._store, key)["size"]
        except (FileNotFoundError, StoreNotFound):
            return None

    def _drop_drafts(self, key: str) -> None:
        """Remove what processes that were killed while they wrote this file left beside it."""
        if self._folder is not None:
            for number in range(1, MOST_DRAFTS + 1):
                (self._folder / f"{key}{DRAFT}{number}").unlink(missing_ok=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, StoreNotFound) as error:
        raise NotFound("The picture's file is gone from the store.") from error
    except (BaseError, OSError) as error:
        meters().is_away("store")
        raise FileStoreUnavailable("The file store does not answer at the moment.") from error


class _Remote(io.RawIOBase):
    """A file of an object store, read by ranges."""

    def __init__(self, store: "obstore.store.ObjectStore", key: str) -> None:
        self._store = store
        self._key = key
        self._size = obstore.head(store, key)["size"]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readall(self) -> bytes:
        return self._take(self._size - self._position)

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _take(self, length: int) -> bytes:
        length = min(length, self._size - self._position)
        if length <= 0:
            return b""
        with _translated():
            data = obstore.get_range(self._store, self._key, start=self._position, length=length)
        self._position += len(data)
        return bytes(data)


def _flush(path: Path) -> None:
    """Wait until a new file and its place in the folder are on the disk."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
