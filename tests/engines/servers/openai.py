"""A stand-in for OpenAI's Images API (and Azure's), faithful where clients get it wrong.

It speaks real HTTP on a port of its own, knows the rules of each model family by itself, refuses
what the vendor refuses, and fails in every way the vendor and the gateways before it fail:

```python
with OpenAIServer() as server:
    server.fail("rate_limited")          # the next generation only
    engine = EngineConfig(name="openai", base_url=server.url, api_key=server.key)
    ...
    assert server.calls[0].body["model"] == "gpt-image-2"
```
"""

import base64
import io
import json
import socket
import struct
from collections import deque
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from PIL import Image

from tests.engines.servers.openai_faults import FAULTS, KEY, Fault
from tests.engines.servers.openai_rules import Json, Refused, check_rules, listing

API_VERSION = "2025-04-01-preview"

#: Answers that look fine until one reads them.
ODD_ANSWERS = frozenset(
    [
        "no_data",
        "empty",
        "fewer",
        "bad_base64",
        "some_bad",
        "data_prefix",
        "url",
        "dead_url",
        "cut",
        "reset",
        "hang",
        "cookies",
    ]
)


@dataclass(frozen=True)
class Call:
    """One call as it arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Json


class OpenAIServer:
    """Serves until the end of its `with` block, on a port of its own or a given one.

    `azure` asks for Azure's form instead: deployments in the path, an api-version, an `api-key`.
    """

    def __init__(self, *, key: str = KEY, azure: bool = False, port: int = 0) -> None:
        self.key = key
        self.azure = azure
        self.calls: list[Call] = []
        #: The prompts it drew, and would charge for, whether the answer arrived or not.
        self.drawn: list[str] = []
        #: What the coming generations do instead of drawing, in order.
        self.modes: deque[str] = deque()
        #: Where links to pictures lead; another server to rehearse foreign links.
        self.files_origin: str | None = None
        self.files: dict[str, bytes] = {}
        #: Set once a hanging call has arrived, and to let hanging calls go.
        self.hanging, self.released = Event(), Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._http.daemon_threads = True
        self._thread = Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        """The base URL to configure."""
        return f"{self.origin}/openai/deployments" if self.azure else f"{self.origin}/v1"

    @property
    def generations(self) -> list[Call]:
        return [each for each in self.calls if each.path.endswith("/images/generations")]

    def fail(self, *modes: str) -> None:
        """Make the next generations behave so, one mode each; `ok` draws."""
        unknown = set(modes) - FAULTS.keys() - ODD_ANSWERS - {"ok"}
        assert not unknown, unknown
        self.modes.extend(modes)

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
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self._record({})
            if path.startswith("/files/"):
                self._file(path.removeprefix("/files/"))
            elif self._is_signed():
                if path in {"/v1/models", "/openai/models"}:
                    self._json(200, {"object": "list", "data": listing()})
                else:
                    self._fault(Fault(404, message=f"Invalid URL (GET {path})"))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            path = self._record(body)
            if not self._is_signed():
                return
            if not self._is_generation(path):
                self._fault(Fault(404, message=f"Invalid URL (POST {path})"))
                return
            mode = server.modes.popleft() if server.modes else "ok"
            if mode in FAULTS:
                self._fault(FAULTS[mode])
                return
            try:
                check_rules(body)
            except Refused as refused:
                self._fault(refused.fault, refused.param)
            else:
                self._draw(body, mode)

        def _record(self, body: Json) -> str:
            parts = urlsplit(self.path)
            headers = {key.lower(): value for key, value in self.headers.items()}
            server.calls.append(
                Call(self.command, parts.path, parse_qs(parts.query), headers, body)
            )
            return parts.path

        def _is_signed(self) -> bool:
            signed = (
                self.headers.get("api-key") == server.key
                if server.azure
                else self.headers.get("Authorization") == f"Bearer {server.key}"
            )
            if not signed:
                given = self.headers.get("Authorization", "").removeprefix("Bearer ")
                message = f"Incorrect API key provided: {given}."
                self._fault(Fault(401, "invalid_api_key", message=message))
            return signed

        def _is_generation(self, path: str) -> bool:
            if not server.azure:
                return path == "/v1/images/generations"
            version = parse_qs(urlsplit(self.path).query).get("api-version")
            start, _, rest = path.partition("/openai/deployments/")
            return not start and rest.endswith("/images/generations") and version == [API_VERSION]

        def _draw(self, body: Json, mode: str) -> None:
            server.drawn.append(body["prompt"])
            if mode == "hang":
                server.hanging.set()
                server.released.wait()
            if mode == "reset":
                # With no time to linger the kernel resets the connection.
                option = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
                self.close_connection = True
                self.rfile.close()
                self.connection.close()
                return
            count = body.get("n", 1)
            items: Any = [self._item(body, mode, index) for index in range(count)]
            if mode == "fewer":
                items = items[: count - 1]
            answer: Json = {"created": 1_760_000_000, "data": items}
            if mode in {"no_data", "empty"}:
                answer["data"] = None if mode == "no_data" else []
            if body["model"].startswith("gpt-image"):
                answer |= {"size": body.get("size", "1024x1024"), "usage": {"total_tokens": 100}}
            headers = {"Set-Cookie": "session=1; Path=/"} if mode == "cookies" else {}
            self._json(200, answer, headers, cut=mode == "cut")

        def _item(self, body: Json, mode: str, index: int) -> Json:
            picture = draw(body)
            encoded = base64.b64encode(picture).decode()
            if mode == "bad_base64" or (mode == "some_bad" and index == 0):
                encoded = "*** not base64 ***"
            if mode == "data_prefix":
                encoded = f"data:image/png;base64,{encoded}"
            wants_url = body["model"].startswith("dall-e") and "response_format" not in body
            item: Json = {"b64_json": encoded}
            if mode in {"url", "dead_url"} or wants_url or body.get("response_format") == "url":
                name = f"{len(server.files)}.png"
                server.files[name] = picture
                file = "missing.png" if mode == "dead_url" else name
                item = {"url": f"{server.files_origin or server.origin}/files/{file}"}
            if body["model"] == "dall-e-3":
                item["revised_prompt"] = f"{body['prompt']}, in detail"
            return item

        def _file(self, name: str) -> None:
            picture = server.files.get(name)
            if picture is None:
                self._fault(Fault(404, message="The link has expired."))
            else:
                self._send(200, picture, "image/png")

        def _fault(self, fault: Fault, param: str | None = None) -> None:
            if fault.html is not None:
                self._send(fault.status, fault.html.encode(), "text/html", fault.headers)
                return
            error = {
                "message": fault.message,
                "type": fault.type,
                "param": param,
                "code": fault.code,
            }
            self._json(fault.status, {"error": error}, fault.headers)

        def _json(
            self, status: int, content: Json, headers: Json | None = None, *, cut: bool = False
        ) -> None:
            self._send(
                status, json.dumps(content).encode(), "application/json", headers or {}, cut=cut
            )

        def _send(
            self,
            status: int,
            content: bytes,
            kind: str,
            headers: Json | None = None,
            *,
            cut: bool = False,
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("x-request-id", f"req_{len(server.calls)}")
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = self.close_connection or cut

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Stay silent."""

    return Handler


def draw(body: Json) -> bytes:
    """A plain picture that fits the request."""
    text = body.get("size") or "1024x1024"
    width, height = (1024, 1024) if text == "auto" else (int(each) for each in text.split("x"))
    colour = struct.unpack("3B", sha256(body["prompt"].encode()).digest()[:3])
    buffer = io.BytesIO()
    mode = "RGBA" if body.get("background") == "transparent" else "RGB"
    picture = Image.new(mode, (width, height), (*colour, 0)[: len(mode)])
    picture.save(buffer, (body.get("output_format") or "png").upper())
    return buffer.getvalue()
