"""The lines of a batch as they arrive: written to a temporary file, and read one by one."""

import hashlib
from collections.abc import Iterator
from typing import IO

from darkroom.errors import BodyTooLarge
from darkroom.spool import Spooled

PIECE_BYTES = 256 * 1024


class Lines(Spooled):
    """A text of lines that need not fit into memory, none longer than `longest_bytes`."""

    def __init__(self, *, longest_bytes: int) -> None:
        super().__init__()
        self._longest_bytes = longest_bytes
        self._hash = hashlib.sha256()

    def take_in(self, source: IO[bytes]) -> None:
        """Read `source` to its end. Raises Unavailable when there is no room for it."""
        while piece := source.read(PIECE_BYTES):
            self._hash.update(piece)
            self._file.write(piece)

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
