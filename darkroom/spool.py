"""Temporary files for what need not fit into memory."""

import tempfile
from types import TracebackType
from typing import Any, Self

from darkroom.errors import Unavailable

#: Up to so many bytes nothing touches the disk.
IN_MEMORY_BYTES = 1024 * 1024


class Spool(tempfile.SpooledTemporaryFile[bytes]):
    """A file that is in memory while it is small, and gone when it is closed."""

    def __init__(self) -> None:
        super().__init__(max_size=IN_MEMORY_BYTES)

    def write(self, data: Any) -> int:
        """Raises Unavailable when the disk is full."""
        try:
            return super().write(data)
        except OSError as error:
            raise Unavailable(
                "There is no room for temporary files at the moment: make some, or set TMPDIR to"
                " another folder."
            ) from error


class Spooled:
    """Something that is kept in a spool. Use it as a context manager: all is gone at the end."""

    def __init__(self) -> None:
        self._file = Spool()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
