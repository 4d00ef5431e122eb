"""Server-sent events, as they arrive in pieces."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of a stream."""

    #: Its `event:` line; `message` when it has none.
    name: str
    data: bytes

    def json(self) -> Any:
        """The parsed data, or None when it is not JSON."""
        try:
            return orjson.loads(self.data)
        except orjson.JSONDecodeError:
            return None


class EventReader:
    """Puts the events of one stream together. Comments, ids and retry times are passed over."""

    def __init__(self) -> None:
        #: The beginning of a line whose end is not here yet. Pictures make lines of megabytes.
        self._line: list[bytes] = []
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that are complete now."""
        *ended, rest = piece.split(b"\n")
        for each in ended:
            line = b"".join((*self._line, each)).removesuffix(b"\r")
            self._line.clear()
            if line:
                self._read(line)
            else:
                yield from self._finish()
        if rest:
            self._line.append(rest)

    def end(self) -> Iterator[Event]:
        """The last event, where the stream ended without the empty line that completes it."""
        yield from self.feed(b"\n\n")

    def _read(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value.decode(errors="replace")
        elif field == b"data":
            self._data.append(value)

    def _finish(self) -> Iterator[Event]:
        if self._data:
            yield Event(name=self._name or "message", data=b"\n".join(self._data))
        self._name = ""
        self._data = []
