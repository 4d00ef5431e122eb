"""A stand-in for Google's Gemini API, faithful where clients get it wrong.

It knows the rules of each model family by itself, refuses what the vendor refuses, reads both
casings, and answers without pictures in every way the vendor does:

```python
with GeminiServer() as server:
    server.fail("finish:IMAGE_SAFETY")       # the next call only
    engine = EngineConfig(name="gemini", base_url=server.url, api_key=server.key)
    ...
    assert server.drawn == ["a lighthouse"]
```

By hand: `python -m tests.engines.servers.gemini --port 8188`.
"""

import base64
import io
import json
from collections import deque
from hashlib import sha256
from urllib.parse import unquote

from PIL import Image

from tests.engines.servers.gemini_faults import BAD_KEY, FAULTS, KEY, NO_KEY, Fault
from tests.engines.servers.gemini_rules import (
    Order,
    Refused,
    find,
    listing,
    read_content,
    read_prediction,
)
from tests.engines.servers.stand_in import Call, Handler, Json, StandIn, serve_by_hand

#: Answers to either method that look fine until one reads them, or never arrive.
ODD = frozenset({"bad_base64", "empty_object", "cut", "hang", "reset"})
#: … to `generateContent`, besides `block:REASON` and `finish:REASON`.
ODD_CONTENT = frozenset(
    {"text_only", "thought", "only_thought", "jpeg", "several", "snake", "no_parts", "no_content"}
)
#: … to `predict`.
ODD_PREDICTIONS = frozenset(
    {"filtered", "some_filtered", "no_predictions", "positive_prompt", "some_bad", "rewritten"}
)
MODES = ODD | ODD_CONTENT | ODD_PREDICTIONS | FAULTS.keys() | {"ok"}
FILTERED = "Unable to show generated images. Support codes: 42237218"


class GeminiServer(StandIn):
    """Serves until the end of its `with` block, on a port of its own or a given one."""

    def __init__(self, *, key: str = KEY, port: int = 0) -> None:
        super().__init__(_Handler, port=port)
        self.key = key
        #: The most models one page of the list holds.
        self.page_size = 50
        #: The prompts it drew, or tried to, and would charge for: one entry per call.
        self.drawn: list[str] = []
        #: What the coming calls do instead of drawing, in order.
        self.modes: deque[str] = deque()

    @property
    def url(self) -> str:
        """The base URL to configure."""
        return f"{self.origin}/v1beta"

    @property
    def generations(self) -> list[Call]:
        return [each for each in self.calls if each.method == "POST"]

    @property
    def bodies(self) -> list[Json]:
        """What was asked for, call by call."""
        return [each.json() for each in self.generations]

    def fail(self, *modes: str) -> None:
        """Make the next calls that draw behave so, one mode each; `ok` draws."""
        for each in modes:
            assert each in MODES or each.startswith(("block:", "finish:")), each
        self.modes.extend(modes)


class _Handler(Handler):
    @property
    def gemini(self) -> GeminiServer:
        assert isinstance(self.stand_in, GeminiServer)
        return self.stand_in

    def answer(self, call: Call) -> None:
        _, version, *rest = call.path.split("/", 2)
        resource = unquote(rest[0]) if rest else ""
        if version not in {"v1", "v1beta"} or not resource.startswith("models"):
            self._fault(FAULTS["html_404"])
        elif self._is_signed(call):
            if call.method == "GET" and resource == "models":
                self._list(call)
            elif call.method == "POST" and resource.startswith("models/"):
                self._work(call, version, *resource.removeprefix("models/").rsplit(":", 1))
            else:
                self._fault(FAULTS["html_404"])

    def _is_signed(self, call: Call) -> bool:
        given = call.headers.get("x-goog-api-key") or "".join(call.query.get("key", []))
        if given == self.gemini.key:
            return True
        self._fault(BAD_KEY if given else NO_KEY)
        return False

    def _list(self, call: Call) -> None:
        asked = int(call.query.get("pageSize", ["50"])[0])
        size = min(asked, self.gemini.page_size)
        start = int(call.query.get("pageToken", ["0"])[0])
        models = listing()
        page: Json = {"models": models[start : start + size]}
        if start + size < len(models):
            page["nextPageToken"] = str(start + size)
        self.reply_json(200, page)

    def _work(self, call: Call, version: str, model: str, method: str = "") -> None:
        server = self.gemini
        mode = server.modes.popleft() if server.modes else "ok"
        if mode in FAULTS:
            self._fault(FAULTS[mode])
            return
        try:
            family = find(model, method, version)
            read = read_prediction if method == "predict" else read_content
            order = read(call.json(), family)
        except Refused as refused:
            self._fault(refused.fault)
            return
        if mode.startswith("block:"):
            self.reply_json(200, {"promptFeedback": {"blockReason": mode.removeprefix("block:")}})
            return
        server.drawn.append(order.prompt)
        if mode == "hang":
            server.hanging.set()
            server.released.wait()
        if mode == "reset":
            self.hang_up()
            return
        content = _predictions(order, mode) if method == "predict" else _content(order, mode)
        if mode == "empty_object":
            content = {}
        self.reply(200, json.dumps(content).encode(), "application/json", cut=mode == "cut")

    def _fault(self, fault: Fault) -> None:
        status = fault.shown_status or fault.status
        headers = {"x-request-id": f"request-{len(self.stand_in.calls)}"} | fault.headers
        if fault.html is not None:
            self.reply(status, fault.html.encode(), "text/html", headers)
        else:
            self.reply_json(status, fault.envelope(), headers)


def _content(order: Order, mode: str) -> Json:
    """The answer of `generateContent`."""
    reason = mode.removeprefix("finish:") if mode.startswith("finish:") else "STOP"
    kind = "image/jpeg" if mode == "jpeg" else "image/png"
    picture: Json = {"inlineData": {"mimeType": kind, "data": _encoded(order, mode, kind)}}
    draft: Json = {"inlineData": {"mimeType": "image/png", "data": _drawn("a draft", (64, 64))}}
    draft |= {"thought": True}
    parts: list[Json] = [{"text": "Here you go"}, picture | {"thoughtSignature": "c2ln"}]
    match mode:
        case "thought":
            parts = [{"text": "Let me sketch", "thought": True}, draft, *parts]
        case "only_thought":
            parts = [draft]
        case "several":
            parts = [*parts, picture]
        case "text_only":
            parts = [{"text": "I cannot draw that. See /srv/model/rules.txt"}]
        case "snake":
            parts = [{"inline_data": {"mime_type": kind, "data": picture["inlineData"]["data"]}}]
        case "no_parts":
            parts = []
        case _ if not order.wants_pictures:
            parts = [{"text": "A lighthouse stands at dusk."}]
    candidate: Json = {
        "index": 0,
        "finishReason": reason,
        "content": {"role": "model", "parts": parts},
    }
    if reason != "STOP":
        del candidate["content"]
        candidate["finishMessage"] = f"The run ended with {reason}."
    if mode == "no_content":
        del candidate["content"]
    return {
        "candidates": [candidate],
        "usageMetadata": {"promptTokenCount": 12, "totalTokenCount": 1302},
        "modelVersion": "stand-in",
        "responseId": "response-1",
    }


def _predictions(order: Order, mode: str) -> Json:
    """The answer of `predict`."""
    entries: list[Json] = [
        {
            "mimeType": order.mime_type,
            "bytesBase64Encoded": _encoded(
                order, "bad_base64" if mode == "some_bad" and not index else mode, order.mime_type
            ),
        }
        for index in range(order.count)
    ]
    refusal = [{"raiFilteredReason": FILTERED}] if order.tells_reasons else []
    match mode:
        case "filtered":
            entries = refusal
        case "some_filtered":
            entries = [*refusal, *entries[1:]]
        case "no_predictions":
            entries = []
        case "positive_prompt":
            rating = {"categories": ["Violence"], "scores": [0.1]}
            entries = [{"contentType": "Positive Prompt", "safetyAttributes": rating}, *entries]
        case "rewritten":
            entries = [each | {"prompt": f"{order.prompt}, in detail"} for each in entries]
    return {"predictions": entries} if entries or mode == "no_predictions" else {}


def _encoded(order: Order, mode: str, kind: str) -> str:
    if mode == "bad_base64":
        return "*** not base64 ***"
    return _drawn(order.prompt, order.size, kind, order.picture)


def _drawn(
    prompt: str, size: tuple[int, int], kind: str = "image/png", changed: bytes | None = None
) -> str:
    """A plain picture in base64; of one that is changed the left half is left."""
    red, green, blue, *_ = sha256(prompt.encode()).digest()
    drawn = Image.new("RGB", size, (red, green, blue))
    if changed is not None:
        with Image.open(io.BytesIO(changed)) as before:
            drawn.paste(before.convert("RGB").resize((size[0] // 2, size[1])))
    buffer = io.BytesIO()
    drawn.save(buffer, kind.removeprefix("image/").upper())
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    serve_by_hand(lambda port: GeminiServer(port=port))
