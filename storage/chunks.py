"""Chunks: the items of a batch that are no jobs yet, a few hundred to a row.

They are compressed JSON. A batch of any length is written to a temporary file chunk by chunk and
copied to the database from there, so that it is never in memory as a whole.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from darkroom.domain import BatchItem
from darkroom.spool import Spooled
from storage.inputs import keys_of
from storage.records import request_from_json, request_to_json

#: How many items make a chunk, and how many bytes of them: whatever comes first.
ITEMS_PER_CHUNK = 250
BYTES_PER_CHUNK = 1024 * 1024

HEADER = struct.Struct("<II")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some items of a batch, one behind the other."""

    #: The place of the first one, from 0.
    position: int
    packed: bytes


class Draft(Spooled):
    """A batch in the making.

    `is_raw` says that its items have pictures as callers sent them, which may be long, in the place
    of the files they will name.
    """

    def __init__(self, *, is_raw: bool = False) -> None:
        super().__init__()
        self._is_raw = is_raw
        self.total = 0
        #: The files that the items name.
        self.file_keys: set[str] = set()
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def add(self, item: BatchItem) -> None:
        """Raises Unavailable when there is no room for it."""
        line = orjson.dumps(
            {**asdict(item), "request": request_to_json(item.request)},
        )
        self.total += 1
        if not self._is_raw:
            self.file_keys |= keys_of(item.request)
        self._pending.append(line)
        self._pending_bytes += len(line)
        if len(self._pending) >= ITEMS_PER_CHUNK or self._pending_bytes >= BYTES_PER_CHUNK:
            self._write()

    def chunks(self) -> Iterator[Chunk]:
        """Everything that was added, from the start."""
        self._write()
        self._file.seek(0)
        position = 0
        while header := self._file.read(HEADER.size):
            count, size_bytes = HEADER.unpack(header)
            yield Chunk(position=position, packed=self._file.read(size_bytes))
            position += count

    def _write(self) -> None:
        if not self._pending:
            return
        packed = zlib.compress(b"\n".join(self._pending), level=1)
        self._file.write(HEADER.pack(len(self._pending), len(packed)) + packed)
        self._pending.clear()
        self._pending_bytes = 0


def unpacked(packed: bytes) -> Sequence[BatchItem]:
    """The items of a chunk."""
    return [_item(orjson.loads(line)) for line in zlib.decompress(packed).split(b"\n")]


def _item(data: dict[str, Any]) -> BatchItem:
    return BatchItem(
        **{
            **data,
            "request": request_from_json(data["request"]),
            "warnings": tuple(data["warnings"]),
        }
    )
