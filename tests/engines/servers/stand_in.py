"""What all stand-in servers share: real HTTP on a port of its own, and a record of every call."""

import argparse
import json
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Json = Any


@dataclass(frozen=True)
class Call:
    """One call as it arrived."""

    method: str
    #: Without the query.
    path: str
    query: Mapping[str, list[str]]
    #: Keys in lower case.
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """The parsed body. Raises ValueError when it is not JSON."""
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's calls. Subclasses fill `answer` for a stand-in of their own."""

    protocol_version = "HTTP/1.1"

    @property
    def stand_in(self) -> "StandIn":
        """The server that this connection belongs to."""
        assert isinstance(self.server, _Listener)
        return self.server.stand_in

    def answer(self, call: Call) -> None:
        """Answer `call` with `reply`, `reply_json` or `hang_up`."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def receive(self) -> Call:
        """Read the call that arrives, as it is recorded."""
        parts = urlsplit(self.path)
        return Call(
            method=self.command,
            path=parts.path,
            query=parse_qs(parts.query),
            headers={key.lower(): value for key, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )

    def _answer(self) -> None:
        call = self.receive()
        self.stand_in.calls.append(call)
        self.answer(call)

    def reply_json(
        self, status: int, content: Json, headers: Mapping[str, str] | None = None
    ) -> None:
        self.reply(status, json.dumps(content).encode(), "application/json", headers)

    def reply(
        self,
        status: int,
        content: bytes,
        kind: str,
        headers: Mapping[str, str] | None = None,
        *,
        cut: bool = False,
    ) -> None:
        """Answer with these bytes, or with half of them when the answer is to be `cut`."""
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = self.close_connection or cut

    def hang_up(self) -> None:
        """Reset the connection without an answer."""
        # With no time to linger the kernel resets it.
        option = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    stand_in: "StandIn"


class StandIn:
    """Serves until the end of its `with` block, on a port of its own or a given one."""

    def __init__(self, handler: type[Handler], *, port: int = 0) -> None:
        #: Every call that arrived, in order.
        self.calls: list[Call] = []
        #: Set once a hanging call has arrived, and to let hanging calls go.
        self.hanging, self.released = Event(), Event()
        self._listener = _Listener(("127.0.0.1", port), handler)
        self._listener.stand_in = self
        self._thread = Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._listener.server_port}"

    def calls_to(self, path: str) -> list[Call]:
        """The calls whose path ends so."""
        return [each for each in self.calls if each.path.endswith(path)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.released.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


def serve_by_hand(make: Callable[[int], StandIn]) -> None:
    """Run a stand-in on `--port` until Ctrl-C, to try the service against it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    stopped = Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stopped.set())
    with make(parser.parse_args().port) as server:
        print(f"Listening on {server.origin}", flush=True)
        stopped.wait()
