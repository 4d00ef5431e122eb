"""A stand-in for OpenAI's Images API (and Azure's), faithful where clients get it wrong.

It speaks real HTTP on a port of its own, knows the rules of each model family by itself, refuses
what the vendor refuses, and fails in every way the vendor and the gateways before it fail:

```python
with OpenAIServer() as server:
    server.fail("rate_limited")          # the next call that draws only
    engine = EngineConfig(name="openai", base_url=server.url, api_key=server.key)
    ...
    assert server.calls[0].body["model"] == "gpt-image-2"
```

By hand: `python -m tests.engines.servers.openai --port 8188`.
"""

import base64
import json
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.engines.servers.openai_faults import FAULTS, KEY, Fault, Refused
from tests.engines.servers.openai_forms import OpenAICall, read_call, typed
from tests.engines.servers.openai_pictures import check_files, draw, repaint
from tests.engines.servers.openai_rules import Json, check_rules, listing
from tests.engines.servers.openai_stream import STREAM_MODES, story
from tests.engines.servers.stand_in import Call, Handler, StandIn, serve_by_hand

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
        "unstreamed",
    ]
)


class OpenAIServer(StandIn):
    """Serves until the end of its `with` block, on a port of its own or a given one.

    `azure` asks for Azure's form instead: deployments in the path, an api-version, an `api-key`.
    An organization that is not `verified` sees GPT models in the list, and may not use them.
    """

    calls: list[Any]

    def __init__(
        self, *, key: str = KEY, azure: bool = False, verified: bool = True, port: int = 0
    ) -> None:
        super().__init__(OpenAIHandler, port=port)
        self.key = key
        self.azure = azure
        self.verified = verified
        #: What it lists as its models.
        self.listing: list[Any] = listing()
        #: The prompts it drew, and would charge for, whether the answer arrived or not.
        self.drawn: list[str] = []
        #: What the coming calls do instead of drawing, in order.
        self.modes: deque[str] = deque()
        #: Where links to pictures lead; another server to rehearse foreign links.
        self.files_origin: str | None = None
        self.files: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        """The base URL to configure."""
        return f"{self.origin}/openai/deployments" if self.azure else f"{self.origin}/v1"

    @property
    def generations(self) -> list[OpenAICall]:
        return [each for each in self.calls if each.path.endswith("/images/generations")]

    @property
    def edits(self) -> list[OpenAICall]:
        return [each for each in self.calls if each.path.endswith("/images/edits")]

    def fail(self, *modes: str) -> None:
        """Make the next calls that draw behave so, one mode each; `ok` draws."""
        unknown = set(modes) - FAULTS.keys() - ODD_ANSWERS - STREAM_MODES - {"ok"}
        assert not unknown, unknown
        self.modes.extend(modes)


class OpenAIHandler(Handler):
    """Answers one connection's calls."""

    @property
    def stand_in(self) -> OpenAIServer:
        found = super().stand_in
        assert isinstance(found, OpenAIServer)
        return found

    def receive(self) -> Call:
        return read_call(super().receive())

    def answer(self, call: Call) -> None:
        assert isinstance(call, OpenAICall)
        if call.method == "GET" and call.path.startswith("/files/"):
            self._file(call.path.removeprefix("/files/"))
        elif not self._is_signed(call):
            given = call.headers.get("authorization", "").removeprefix("Bearer ")
            message = f"Incorrect API key provided: {given}."
            self._fault(Fault(401, "invalid_api_key", message=message))
        elif call.method == "GET" and call.path in {"/v1/models", "/openai/models"}:
            self._json(200, {"object": "list", "data": self.stand_in.listing})
        elif call.method == "POST" and self._draws(call):
            self._draw(call)
        else:
            self._fault(Fault(404, message=f"Invalid URL ({call.method} {call.path})"))

    def _is_signed(self, call: Call) -> bool:
        if self.stand_in.azure:
            return call.headers.get("api-key") == self.stand_in.key
        return call.headers.get("authorization") == f"Bearer {self.stand_in.key}"

    def _draws(self, call: Call) -> bool:
        routes = ("/images/generations", "/images/edits")
        if not self.stand_in.azure:
            return call.path in [f"/v1{each}" for each in routes]
        version = parse_qs(urlsplit(self.path).query).get("api-version")
        start, _, rest = call.path.partition("/openai/deployments/")
        return not start and rest.endswith(routes) and version == [API_VERSION]

    def _draw(self, call: OpenAICall) -> None:
        server = self.stand_in
        mode = server.modes.popleft() if server.modes else "ok"
        if mode in FAULTS:
            self._fault(FAULTS[mode])
            return
        is_edit = call.path.endswith("/edits")
        try:
            body = self._checked(call, is_edit=is_edit)
        except Refused as refused:
            self._fault(refused.fault, refused.param)
            return
        server.drawn.append(body["prompt"])
        picture = repaint(body, call.files) if is_edit else draw(body)
        if mode == "hang":
            server.hanging.set()
            server.released.wait()
        if mode == "reset":
            self.hang_up()
        elif body.get("stream") and mode != "unstreamed":
            self._stream("image_edit" if is_edit else "image_generation", body, picture, mode)
        else:
            self._whole(body, picture, mode)

    def _checked(self, call: OpenAICall, *, is_edit: bool) -> Json:
        """What is asked for. Raises Refused."""
        if is_edit and not call.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refused(Fault(400, "unsupported_content_type", message="Send a form."))
        body: Json = typed(call.body) if is_edit else call.body
        check_rules(body, is_edit=is_edit)
        if not self.stand_in.verified and "gpt-image" in body["model"]:
            raise Refused(FAULTS["organization"])
        if is_edit:
            check_files(body["model"], call.files)
        return body

    def _whole(self, body: Json, picture: bytes, mode: str) -> None:
        count = body.get("n", 1)
        items: Any = [self._item(body, picture, mode, index) for index in range(count)]
        if mode == "fewer":
            items = items[: count - 1]
        answer: Json = {"created": 1_760_000_000, "data": items}
        if mode in {"no_data", "empty"}:
            answer["data"] = None if mode == "no_data" else []
        if "gpt-image" in body["model"]:
            answer |= _echo(body) | {"usage": _usage(0)}
        headers = {"Set-Cookie": "session=1; Path=/"} if mode == "cookies" else {}
        self._json(200, answer, headers, cut=mode == "cut")

    def _item(self, body: Json, picture: bytes, mode: str, index: int) -> Json:
        encoded = base64.b64encode(picture).decode()
        if mode == "bad_base64" or (mode == "some_bad" and index == 0):
            encoded = "*** not base64 ***"
        if mode == "data_prefix":
            encoded = f"data:image/png;base64,{encoded}"
        item: Json = {"b64_json": encoded}
        wants_url = body["model"].startswith("dall-e") and "response_format" not in body
        if mode in {"url", "dead_url"} or wants_url or body.get("response_format") == "url":
            server = self.stand_in
            name = f"{len(server.files)}.png"
            server.files[name] = picture
            file = "missing.png" if mode == "dead_url" else name
            item = {"url": f"{server.files_origin or server.origin}/files/{file}"}
        if body["model"] == "dall-e-3":
            item["revised_prompt"] = f"{body['prompt']}, in detail"
        return item

    def _stream(self, kind: str, body: Json, picture: bytes, mode: str) -> None:
        count = body.get("partial_images", 0)
        about = {"created_at": 1_760_000_000} | _echo(body)
        unfinished = base64.b64encode(draw(body, unfinished=True)).decode()
        partials: list[Json] = [
            {
                "type": f"{kind}.partial_image",
                "b64_json": unfinished,
                "partial_image_index": index,
            }
            | about
            for index in range(count)
        ]
        final: Json = {
            "type": f"{kind}.completed",
            "b64_json": base64.b64encode(picture).decode(),
            "usage": _usage(count),
        } | about
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("x-request-id", f"req_{len(self.stand_in.calls)}")
        self.end_headers()
        for each in story(mode, partials, final):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(each), each))
        if mode in {"silent", "silent_after_final"}:
            self.stand_in.hanging.set()
            self.stand_in.released.wait()
        if mode in {"broken_off", "lost_after_final", "silent", "silent_after_final"}:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _file(self, name: str) -> None:
        picture = self.stand_in.files.get(name)
        if picture is None:
            self._fault(Fault(404, message="The link has expired."))
        else:
            self.reply(200, picture, "image/png")

    def _fault(self, fault: Fault, param: str | None = None) -> None:
        if fault.html is not None:
            self.reply(fault.status, fault.html.encode(), "text/html", fault.headers)
            return
        error = {
            "message": fault.message,
            "type": fault.type,
            "param": param,
            "code": fault.code,
        }
        self._json(fault.status, {"error": error}, fault.headers)

    def _json(
        self,
        status: int,
        content: Json,
        headers: Mapping[str, str] | None = None,
        *,
        cut: bool = False,
    ) -> None:
        request_id = {"x-request-id": f"req_{len(self.stand_in.calls)}"}
        content_bytes = json.dumps(content).encode()
        self.reply(
            status, content_bytes, "application/json", request_id | {**(headers or {})}, cut=cut
        )


def _echo(body: Json) -> Json:
    return {
        "size": body.get("size", "1024x1024"),
        "quality": body.get("quality", "high"),
        "background": body.get("background", "opaque"),
        "output_format": body.get("output_format", "png"),
    }


def _usage(partial_images: int) -> Json:
    """What is charged for: unfinished pictures cost, too."""
    tokens = 50 + 100 * partial_images
    return {
        "total_tokens": 50 + tokens,
        "input_tokens": 50,
        "output_tokens": tokens,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        "output_tokens_details": {"image_tokens": tokens, "text_tokens": 0},
    }


if __name__ == "__main__":
    serve_by_hand(lambda port: OpenAIServer(port=port))
