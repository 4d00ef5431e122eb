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

HEADER = struct.Struct("<IIII")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some items of a batch, one behind the other."""

    #: The place of the first one, from 0.
    position: int
    packed: bytes
    #: What each of them is expected to cost, in millionths; None where nobody knows. They are kept
    #: beside the items, for a worker of the release before reads those.
    costs: Sequence[int | None] = ()
    #: How many pictures they ask for together.
    images: int = 0

    @property
    def cost(self) -> int:
        """What they are expected to cost together, as far as it is known."""
        return sum(each or 0 for each in self.costs)


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
        #: How many pictures they ask for together, and what these cost as far as it is known.
        self.images = 0
        self.cost = 0
        self._pending: list[bytes] = []
        self._pending_costs: list[int | None] = []
        self._pending_images = 0
        self._pending_bytes = 0

    def add(self, item: BatchItem) -> None:
        """Raises Unavailable when there is no room for it."""
        content = {**asdict(item), "request": request_to_json(item.request)}
        cost = content.pop("estimated_cost")
        line = orjson.dumps(content)
        self.total += 1
        self.images += item.request.count
        self.cost += cost or 0
        self._pending_costs.append(cost)
        self._pending_images += item.request.count
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
            count, size_bytes, costs_bytes, images = HEADER.unpack(header)
            yield Chunk(
                position=position,
                packed=self._file.read(size_bytes),
                costs=orjson.loads(self._file.read(costs_bytes)),
                images=images,
            )
            position += count

    def _write(self) -> None:
        if not self._pending:
            return
        packed = zlib.compress(b"\n".join(self._pending), level=1)
        costs = orjson.dumps(self._pending_costs)
        header = HEADER.pack(len(self._pending), len(packed), len(costs), self._pending_images)
        self._file.write(header + packed + costs)
        self._pending.clear()
        self._pending_costs.clear()
        self._pending_images = 0
        self._pending_bytes = 0


def unpacked(packed: bytes, costs: Sequence[int | None] | None = None) -> Sequence[BatchItem]:
    """The items of a chunk, with what each is expected to cost as far as it is known."""
    lines = zlib.decompress(packed).split(b"\n")
    return [
        _item(orjson.loads(line), cost)
        for line, cost in zip(lines, costs or [None] * len(lines), strict=True)
    ]


def _item(data: dict[str, Any], cost: int | None) -> BatchItem:
    return BatchItem(
        **{
            **data,
            "estimated_cost": cost,
            "request": request_from_json(data["request"]),
            "warnings": tuple(data["warnings"]),
        }
    )
