"""The server's side of a WebSocket (RFC 6455), as far as ComfyUI uses it."""

import base64
import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedIOBase
from threading import Lock

from tests.engines.servers.stand_in import Json

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def accept_key(key: str) -> str:
    """What proves to a client that its handshake was understood."""
    return base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest()).decode()  # noqa: S324


class ServerSocket:
    """One connection, after its handshake. May be sent to from any thread."""

    def __init__(self, client_id: str, reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        self.client_id = client_id
        #: Whether its first message asked for previews that name their prompt.
        self.wants_metadata = False
        self._reader, self._writer = reader, writer
        self._lock = Lock()
        self._is_open = True

    def send_json(self, kind: str, data: Json) -> None:
        self._send(TEXT, json.dumps({"type": kind, "data": data}).encode())

    def send_bytes(self, content: bytes) -> None:
        self._send(BINARY, content)

    def messages(self) -> Iterator[str]:
        """What the client says, until it leaves."""
        with suppress(OSError, ValueError, struct.error):
            while True:
                kind, content = self._read()
                if kind == CLOSE:
                    return
                if kind == PING:
                    self._send(PONG, content)
                elif kind == TEXT:
                    yield content.decode()

    def close(self) -> None:
        """No more is sent."""
        with self._lock:
            self._is_open = False

    def _read(self) -> tuple[int, bytes]:
        first, second = struct.unpack(">BB", self._exactly(2))
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._exactly(8))
        # Clients mask all they send.
        mask = self._exactly(4)
        content = self._exactly(length)
        return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(content))

    def _exactly(self, count: int) -> bytes:
        content = self._reader.read(count)
        if len(content) < count:
            raise OSError("the client left")
        return content

    def _send(self, kind: int, content: bytes) -> None:
        length = len(content)
        header = struct.pack(">B", 0x80 | kind)
        if length < 126:
            header += struct.pack(">B", length)
        elif length < 65_536:
            header += struct.pack(">BH", 126, length)
        else:
            header += struct.pack(">BQ", 127, length)
        with self._lock:
            if not self._is_open:
                return
            try:
                self._writer.write(header + content)
                self._writer.flush()
            except (OSError, ValueError):
                self._is_open = False
