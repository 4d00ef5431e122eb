"""Takes the pictures out of Google's answers, or says why there is none.

Success is no promise of a picture: what was filtered, refusals in words, and pictures that a model
only thought of all come with status 200.
"""

import binascii
from collections.abc import Iterator
from typing import Any

import pybase64

from darkroom.domain import GeneratedImage
from darkroom.errors import EngineError, EngineFailed
from engines.gemini_errors import refused
from engines.scrubbing import Scrubber

#: `finishReason` of content that was filtered.
FILTERED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    }
)


class AnswerReader:
    """Reads the answers of one engine."""

    def __init__(self, engine: str, scrub: Scrubber) -> None:
        self._name = f"Engine {engine!r}"
        self._scrub = scrub

    def contents(self, answer: dict[str, Any]) -> list[GeneratedImage]:
        """The pictures of a `generateContent` answer, at least one.

        Raises ContentRefused or EngineFailed with the vendor's reason.
        """
        candidates = [each for each in _list(answer, "candidates") if isinstance(each, dict)]
        parts = [
            part
            for candidate in candidates
            for part in _list(_dict(candidate, "content"), "parts")
            # A draft that the model only thought of is no result.
            if isinstance(part, dict) and part.get("thought") is not True
        ]
        images = [each for part in parts if (each := self._picture(part)) is not None]
        if images:
            return images
        raise self._why_no_content(answer, candidates, parts)

    def predictions(self, answer: dict[str, Any]) -> list[GeneratedImage]:
        """The pictures of a `predict` answer, at least one.

        Raises ContentRefused with the vendor's reason: fewer pictures than asked for, or none, are
        what its filter leaves.
        """
        entries = [each for each in _list(answer, "predictions") if isinstance(each, dict)]
        images = [
            GeneratedImage(data=self._decoded(data), revised_prompt=_text(each, "prompt"))
            for each in entries
            if (data := _text(each, "bytesBase64Encoded", "bytes_base64_encoded"))
        ]
        if images:
            return images
        reasons = (_text(each, "raiFilteredReason", "rai_filtered_reason") for each in entries)
        words = next((self._scrub(each) for each in reasons if each), "")
        raise refused(self._name, "filtered", words)

    def _picture(self, part: dict[str, Any]) -> GeneratedImage | None:
        inline = _dict(part, "inlineData", "inline_data")
        kind = _text(inline, "mimeType", "mime_type") or ""
        data = _text(inline, "data")
        if not kind.startswith("image/") or not data:
            return None
        return GeneratedImage(data=self._decoded(data))

    def _decoded(self, encoded: str) -> bytes:
        try:
            return pybase64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise EngineFailed(
                f"{self._name} answered with a picture that cannot be decoded."
            ) from error

    def _why_no_content(
        self,
        answer: dict[str, Any],
        candidates: list[dict[str, Any]],
        parts: list[dict[str, Any]],
    ) -> EngineError:
        feedback = _dict(answer, "promptFeedback", "prompt_feedback")
        if block := _text(feedback, "blockReason", "block_reason"):
            words = _text(feedback, "blockReasonMessage", "block_reason_message") or ""
            return refused(self._name, self._scrub(block), self._scrub(words))
        first = candidates[0] if candidates else {}
        reason = self._scrub(_text(first, "finishReason", "finish_reason") or "STOP")
        words = self._scrub(
            _text(first, "finishMessage", "finish_message")
            or " ".join(_text(each, "text") or "" for each in parts)
        )
        if reason in FILTERED:
            return refused(self._name, reason, words)
        if reason == "STOP" and words:
            # It answered in words, and often they say why it will not draw.
            return refused(self._name, "answered in words", words)
        said = f' It said: "{words}"' if words else ""
        return EngineFailed(
            f"{self._name} made no picture ({reason}): change the prompt, or try again.{said}"
        ).traced(code=reason)


def _value(content: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((content[each] for each in names if each in content), None)


def _dict(content: dict[str, Any], *names: str) -> dict[str, Any]:
    value = _value(content, names)
    return value if isinstance(value, dict) else {}


def _list(content: dict[str, Any], *names: str) -> Iterator[Any]:
    value = _value(content, names)
    yield from value if isinstance(value, list) else ()


def _text(content: dict[str, Any], *names: str) -> str | None:
    value = _value(content, names)
    return value if isinstance(value, str) else None
