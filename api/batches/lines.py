"""The lines of a batch as they arrive: written to a temporary file, and read one by one."""

import hashlib
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self

from darkroom.errors import BodyTooLarge

#: Files up to so many bytes never touch the disk.
IN_MEMORY_BYTES = 1024 * 1024

PIECE_BYTES = 256 * 1024


class Lines:
    """A text of lines that need not fit into memory. Use it as a context manager."""

    def __init__(self, source: IO[bytes], *, longest_bytes: int) -> None:
        """Takes in all of `source`; no line may be longer than `longest_bytes`."""
        self._longest_bytes = longest_bytes
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - closed in __exit__
        self._hash = hashlib.sha256()
        while piece := source.read(PIECE_BYTES):
            self._hash.update(piece)
            self._file.write(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def digest(self) -> str:
        """Equal for equal texts."""
        return self._hash.hexdigest()

    def numbered(self) -> Iterator[tuple[int, bytes]]:
        """Every line that is not blank with its number, from 1. Raises BodyTooLarge."""
        self._file.seek(0)
        number = 0
        while line := self._file.readline(self._longest_bytes + 1):
            number += 1
            if len(line) > self._longest_bytes:
                raise BodyTooLarge(
                    f"Line {number} is longer than {self._longest_bytes // 2**20} MiB: send large"
                    " pictures as files first.",
                    param="body",
                )
            text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
            if text:
                yield number, text
