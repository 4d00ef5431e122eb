"""A stand-in for Google's API: Gemini's `generateContent` and Imagen's `predict`.

It knows the models and what each refuses, takes both casings, and draws with status 200 or says why
not with status 200:

```python
with GeminiServer() as server:
    server.next("text_only")             # the next call that draws
    engine = EngineConfig(name="gemini", base_url=server.url, api_key=server.key)
```
"""

import base64
import io
import re
from collections import deque
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

from PIL import Image

from tests.engines.servers.stand_in import Call, Handler, Json, StandIn, serve_by_hand

KEY = "AIzaSyD-0123456789-abcdefghijklmnopqrstu"

RATIOS = frozenset(["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"])
IMAGEN_RATIOS = frozenset(["1:1", "3:4", "4:3", "9:16", "16:9"])

#: The pixels of `1K`, as they were measured on the real service.
PIXELS = {
    "1:1": (1024, 1024),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
}
IMAGEN_PIXELS = {
    "1:1": (1024, 1024),
    "3:4": (896, 1280),
    "4:3": (1280, 896),
    "9:16": (768, 1408),
    "16:9": (1408, 768),
}
SCALES = {"512": 0.5, "1K": 1, "2K": 2, "4K": 4}

#: Model, its method, the classes of size it takes, and how many pictures it may be given.
MODELS: Mapping[str, tuple[str, frozenset[str], int]] = {
    "gemini-3-pro-image": ("generateContent", frozenset({"1K", "2K", "4K"}), 14),
    "gemini-3.1-flash-image": ("generateContent", frozenset(SCALES), 14),
    "gemini-2.5-flash-image": ("generateContent", frozenset(), 3),
    "imagen-4.0-generate-001": ("predict", frozenset({"1K", "2K"}), 0),
    "imagen-3.0-generate-002": ("predict", frozenset(), 0),
}
WRITERS = ("gemini-3-pro", "text-embedding-005")


def _error(
    code: int, status: str, message: str, *details: Json, wrapped: bool = False
) -> tuple[int, Json]:
    body = {"error": {"code": code, "message": message, "status": status, "details": [*details]}}
    return code, [body] if wrapped else body


def _quota(period: str, delay: str | None) -> tuple[int, Json]:
    details: list[Json] = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": f"GenerateRequests{period}PerProjectPerModel-FreeTier"}],
        }
    ]
    if delay is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    return _error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", *details)


FAULTS: Mapping[str, tuple[int, Json]] = {
    "per_day": _quota("PerDay", "3.2s"),
    "per_minute": _quota("PerMinute", "38.2s"),
    "exhausted": _error(429, "RESOURCE_EXHAUSTED", "Resource exhausted, try again later."),
    "precondition": _error(400, "FAILED_PRECONDITION", "Billing is not enabled."),
    "invalid": _error(
        400,
        "INVALID_ARGUMENT",
        "Invalid value",
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": "generation_config.seed", "description": "too large"}],
        },
    ),
    "denied": _error(403, "PERMISSION_DENIED", "The caller does not have permission."),
    "unpaid": _error(402, "FAILED_PRECONDITION", "Your prepayment credits are depleted."),
    "overloaded": _error(503, "UNAVAILABLE", "The model is overloaded. Try again later."),
    "internal": _error(500, "INTERNAL", "An internal error has occurred."),
    "deadline": _error(504, "DEADLINE_EXCEEDED", "The request timed out."),
    "wrapped": _error(429, "RESOURCE_EXHAUSTED", "Slow down.", wrapped=True),
    "leaky": _error(
        400,
        "INVALID_ARGUMENT",
        f"Bad call with key {KEY} in /home/google/server.py\n"
        "Traceback (most recent call last):\n x",
    ),
}

#: Outcomes of `generateContent` that are no picture.
REASONS = frozenset(
    [
        "SAFETY",
        "IMAGE_SAFETY",
        "PROHIBITED_CONTENT",
        "RECITATION",
        "NO_IMAGE",
        "IMAGE_OTHER",
        "MAX_TOKENS",
    ]
)
#: All other outcomes.
ODD = frozenset(
    [
        "blocked",
        "text_only",
        "thought",
        "snake_case",
        "jpeg",
        "no_parts",
        "two",
        "empty",
        "filtered",
        "partly_filtered",
        "positive",
        "html",
        "hang",
        "reset",
        "cut",
    ]
)


class GeminiServer(StandIn):
    """Google's API on a port of its own."""

    def __init__(self, *, key: str = KEY, port: int = 0) -> None:
        super().__init__(_Handler, port=port)
        self.key = key
        #: The prompts it drew, and would charge for, whether the answer arrived or not.
        self.drawn: list[str] = []
        #: What the coming calls do instead of drawing, in order.
        self.modes: deque[str] = deque()
        self.page_size = 1000

    @property
    def url(self) -> str:
        """The base URL to configure."""
        return f"{self.origin}/v1beta"

    @property
    def draws(self) -> list[Call]:
        """The calls that asked for pictures."""
        return [each for each in self.calls if each.method == "POST"]

    def next(self, *modes: str) -> None:
        """Make the next calls that draw behave so, one mode each; `ok` draws."""
        unknown = set(modes) - FAULTS.keys() - REASONS - ODD - {"ok"}
        assert not unknown, unknown
        self.modes.extend(modes)


class _Refused(Exception):
    """A request that Google refuses."""


class _Handler(Handler):
    @property
    def google(self) -> GeminiServer:
        assert isinstance(self.stand_in, GeminiServer)
        return self.stand_in

    def answer(self, call: Call) -> None:
        given = call.headers.get("x-goog-api-key") or "".join(call.query.get("key", []))
        if given != self.google.key:
            self.reply_json(
                *_error(
                    400,
                    "INVALID_ARGUMENT",
                    "API key not valid. Please pass a valid API key.",
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "API_KEY_INVALID",
                    },
                )
            )
        elif call.method == "GET" and call.path == "/v1beta/models":
            self._list(call)
        elif match := re.fullmatch(r"/v1beta/models/([^/:]+):(\w+)", unquote(call.path)):
            self._draw(call, match[1], match[2])
        else:
            self.reply(404, b"", "")

    def _list(self, call: Call) -> None:
        names = [*WRITERS, *MODELS]
        start = int(call.query.get("pageToken", ["0"])[0])
        end = start + self.google.page_size
        body: Json = {
            "models": [
                {
                    "name": f"models/{each}",
                    "displayName": each.replace("-", " ").title(),
                    "supportedGenerationMethods": [
                        MODELS[each][0] if each in MODELS else "generateContent"
                    ],
                }
                for each in names[start:end]
            ]
        }
        if end < len(names):
            body["nextPageToken"] = str(end)
        self.reply_json(200, body)

    def _draw(self, call: Call, model: str, method: str) -> None:
        mode = self.google.modes.popleft() if self.google.modes else "ok"
        if mode in FAULTS:
            self.reply_json(*FAULTS[mode])
            return
        if MODELS.get(model, ("",))[0] != method:
            message = (
                f"models/{model} is not found for API version v1beta, or is not supported for"
                f" {method}. Call ListModels to see the list of available models."
            )
            self.reply_json(*_error(404, "NOT_FOUND", message))
            return
        draw = self._content if method == "generateContent" else self._predict
        try:
            body = draw(_camel(call.json()), model, mode)
        except (_Refused, KeyError, TypeError) as error:
            self.reply_json(*_error(400, "INVALID_ARGUMENT", f"Invalid request: {error}"))
            return
        self._finish(body, mode)

    def _finish(self, body: Json, mode: str) -> None:
        if mode == "hang":
            self.google.hanging.set()
            self.google.released.wait()
        if mode == "reset":
            self.hang_up()
        elif mode == "html":
            self.reply(200, b"<html>Sign in</html>", "text/html")
        elif mode == "cut":
            self.reply(200, str(body).encode(), "application/json", cut=True)
        else:
            self.reply_json(200, _snake(body) if mode == "snake_case" else body)

    def _content(self, body: Json, model: str, mode: str) -> Json:
        parts = body["contents"][0]["parts"]
        config = body.get("generationConfig", {})
        if "IMAGE" not in config.get("responseModalities", []):
            mode = "text_only"
        if config.get("candidateCount", 1) != 1:
            raise _Refused("Only one candidate can be specified")
        _, scales, most = MODELS[model]
        inputs = [each["inlineData"] for each in parts if "inlineData" in each]
        if len(inputs) > most:
            raise _Refused("too many images")
        image = config.get("imageConfig", {})
        aspect, scale = image.get("aspectRatio"), image.get("imageSize")
        _check(aspect, RATIOS, "aspectRatio")
        _check(scale, scales, "imageSize")
        text = " ".join(each["text"] for each in parts if "text" in each)
        self.google.drawn.append(text)
        if mode == "blocked":
            return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {}}
        if mode == "empty":
            return {}
        size = _pixels(PIXELS, aspect or "1:1", scale or "1K")
        picture = draw(text, size, [base64.b64decode(each["data"]) for each in inputs])
        return {
            "candidates": [self._candidate(picture, mode)],
            "usageMetadata": {"candidatesTokenCount": 1290},
            "modelVersion": model,
        }

    def _candidate(self, picture: Image.Image, mode: str) -> Json:
        if mode in REASONS:
            message = f"The model stopped: {mode.lower()}."
            return {"index": 0, "finishReason": mode, "finishMessage": message}
        if mode == "no_parts":
            return {"index": 0, "finishReason": "STOP", "content": {"role": "model"}}
        kind = "jpeg" if mode == "jpeg" else "png"
        shown = {"inlineData": {"mimeType": f"image/{kind}", "data": _encoded(picture, kind)}}
        draft = Image.new("RGB", (8, 8), "grey")
        parts: list[Json] = [{"text": "Here you go"}, shown | {"thoughtSignature": "c2ln"}]
        if mode == "thought":
            thought = {"inlineData": {"mimeType": "image/png", "data": _encoded(draft, "png")}}
            parts.insert(0, thought | {"thought": True})
        if mode == "two":
            parts.append(shown)
        if mode == "text_only":
            parts = [{"text": "I cannot draw that, but I can describe it."}]
        content = {"role": "model", "parts": parts}
        return {"index": 0, "finishReason": "STOP", "content": content}

    def _predict(self, body: Json, model: str, mode: str) -> Json:
        instances = body["instances"]
        prompt = (instances if isinstance(instances, dict) else instances[0])["prompt"]
        parameters = body.get("parameters", {})
        for each in ("negativePrompt", "seed", "addWatermark"):
            if each in parameters:
                raise _Refused(f"{each} is not supported")
        count = parameters.get("sampleCount", 4)
        if not 1 <= count <= 4:
            raise _Refused("sampleCount must be between 1 and 4")
        aspect, scale = parameters.get("aspectRatio"), parameters.get("sampleImageSize")
        _check(aspect, IMAGEN_RATIOS, "aspectRatio")
        _check(scale, MODELS[model][1], "sampleImageSize")
        self.google.drawn.append(prompt)
        size = _pixels(IMAGEN_PIXELS, aspect or "1:1", scale or "1K")
        entries: list[Json] = [
            {
                "mimeType": "image/png",
                "bytesBase64Encoded": _encoded(draw(f"{prompt} {index}", size, []), "png"),
            }
            for index in range(count)
        ]
        filtered: list[Json] = []
        if parameters.get("includeRaiReason"):
            filtered = [{"raiFilteredReason": "Unable to show generated images. Support code 42."}]
        if mode == "empty":
            return {}
        if mode == "filtered":
            return {"predictions": filtered}
        if mode == "partly_filtered":
            entries = entries[1:] + filtered
        if mode == "positive":
            entries.append({"contentType": "Positive Prompt", "safetyAttributes": {}})
        return {"predictions": entries}


def draw(text: str, size: tuple[int, int], inputs: list[bytes]) -> Image.Image:
    """A plain picture of the prompt's colour, with the first input, if there is one, inside."""
    red, green, blue = sha256(text.encode()).digest()[:3]
    picture = Image.new("RGB", size, (red, green, blue))
    if inputs:
        with Image.open(io.BytesIO(inputs[0])) as first:
            picture.paste(first.convert("RGB").resize((size[0] // 2, size[1])), (0, 0))
    return picture


def _check(value: str | None, allowed: frozenset[str], name: str) -> None:
    if value is not None and value not in allowed:
        raise _Refused(f"{name} {value!r} is not supported")


def _pixels(table: Mapping[str, tuple[int, int]], aspect: str, scale: str) -> tuple[int, int]:
    width, height = table[aspect]
    return round(width * SCALES[scale]), round(height * SCALES[scale])


def _encoded(picture: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def _renamed(content: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(content, dict):
        return {rename(key): _renamed(value, rename) for key, value in content.items()}
    return [_renamed(each, rename) for each in content] if isinstance(content, list) else content


def _camel(content: Json) -> Json:
    return _renamed(content, lambda key: re.sub(r"_(\w)", lambda found: found[1].upper(), key))


def _snake(content: Json) -> Json:
    return _renamed(
        content, lambda key: re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", key)
    )


if __name__ == "__main__":
    serve_by_hand(lambda port: GeminiServer(port=port))
