"""What a Google-style server answers when it worked: pictures, or the reason why there are none.

A prompt or picture that the safety filters catch is answered with status 200. Servers write the
names of fields in `camelCase` or in `snake_case`, and both are read.
"""

import binascii
import logging
import re
from collections.abc import Iterator
from typing import Any

import pybase64

from darkroom.domain import GeneratedImage
from darkroom.errors import ContentRefused, EngineError, EngineFailed, RequestRejected
from engines.gemini_calls import Method
from engines.scrubbing import Scrubber
from engines.tokens import gemini_usage, with_usage

logger = logging.getLogger(__name__)

#: Ends of a run by which the vendor refuses what was asked for, or what came out.
REFUSALS = frozenset(
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
#: Ends of a run that the same request would meet again.
FINAL = frozenset(
    {
        "MAX_TOKENS",
        "LANGUAGE",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
        "CONTINUATION",
    }
)
#: A vendor's word for something; anything else is not passed on as one.
WORD = re.compile(r"[A-Z][A-Z0-9_]{1,63}")


class _Broken(Exception):
    """Bytes that cannot be decoded."""


def read_pictures(
    method: Method, content: dict[str, Any], *, engine: str, scrub: Scrubber
) -> list[GeneratedImage]:
    """The pictures of an answer, at least one.

    Raises ContentRefused, RequestRejected or EngineFailed that say why there is none.
    """
    found = _samples(content) if method is Method.PREDICT else _parts(content)
    images: list[GeneratedImage] = []
    is_broken = False
    for encoded, prompt in found:
        try:
            images.append(GeneratedImage(data=_decoded(encoded), revised_prompt=prompt))
        except _Broken:
            logger.warning("A picture of engine %s cannot be decoded and is lost", engine)
            is_broken = True
    if images:
        return with_usage(images, gemini_usage(field(content, "usageMetadata")))
    if is_broken:
        raise EngineFailed(f"Engine {engine!r} answered with a picture that cannot be decoded.")
    if method is Method.PREDICT:
        raise _filtered(content, engine, scrub)
    raise _without_picture(content, engine, scrub)


def field(content: Any, name: str) -> Any:
    """The value of `name`, which is given in camel case and may be there in snake case."""
    if not isinstance(content, dict):
        return None
    value = content.get(name)
    return content.get(snake_case(name)) if value is None else value


def text_of(content: Any, name: str) -> str:
    """The text in field `name`; empty when there is none."""
    value = field(content, name)
    return value if isinstance(value, str) else ""


def items_of(content: Any, name: str) -> list[Any]:
    """The list in field `name`; empty when there is none."""
    value = field(content, name)
    return value if isinstance(value, list) else []


def snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)


def _parts(content: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    for part in _spoken(content):
        inline = field(part, "inlineData")
        if text_of(inline, "mimeType").startswith("image/"):
            yield text_of(inline, "data"), None


def _spoken(content: dict[str, Any]) -> Iterator[Any]:
    """All parts of the answer, without the thoughts, which may hold drafts of the picture."""
    for candidate in items_of(content, "candidates"):
        for part in items_of(field(candidate, "content"), "parts"):
            if field(part, "thought") is not True:
                yield part


def _samples(content: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The drawn ones: an entry may also tell of a filtered picture, or only rate the prompt."""
    for each in items_of(content, "predictions"):
        encoded = text_of(each, "bytesBase64Encoded")
        if encoded:
            yield encoded, text_of(each, "prompt") or None


def _decoded(encoded: str) -> bytes:
    try:
        data = pybase64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _Broken from error
    if not data:
        raise _Broken
    return data


def _filtered(content: dict[str, Any], engine: str, scrub: Scrubber) -> EngineError:
    reasons = [text_of(each, "raiFilteredReason") for each in items_of(content, "predictions")]
    reason = next((each for each in reasons if each), "")
    return ContentRefused(
        f"The safety filter of engine {engine!r} kept every picture back: change the prompt."
        + _quoted(reason, scrub),
        upstream_status=200,
    )


def _without_picture(content: dict[str, Any], engine: str, scrub: Scrubber) -> EngineError:
    feedback = field(content, "promptFeedback")
    reason = text_of(feedback, "blockReason")
    if reason:
        return ContentRefused(
            f"Engine {engine!r} refused the prompt ({scrub(reason)}): change it."
            + _quoted(text_of(feedback, "blockReasonMessage"), scrub),
            upstream_status=200,
        ).traced(code=word(reason))

    candidate = next(iter(items_of(content, "candidates")), None)
    reason = text_of(candidate, "finishReason")
    said = " ".join(filter(None, (text_of(each, "text") for each in _spoken(content))))
    words = _quoted(text_of(candidate, "finishMessage") or said, scrub)
    return _ended(reason, bool(said), words, engine, scrub).traced(code=word(reason))


def _ended(
    reason: str, has_words: bool, words: str, engine: str, scrub: Scrubber
) -> ContentRefused | RequestRejected | EngineFailed:
    """The error for a run that ended for `reason` and drew nothing."""
    name = f"Engine {engine!r}"
    if reason in REFUSALS:
        return ContentRefused(
            f"{name} refused the prompt or its result for their content ({reason}): change the"
            f" prompt.{words}",
            upstream_status=200,
        )
    if reason in FINAL:
        return RequestRejected(
            f"{name} stopped before it drew anything ({reason}): shorten or change the"
            f" prompt.{words}",
            upstream_status=200,
        )
    if has_words and reason in {"", "STOP"}:
        # Most often a polite refusal, and the same prompt would be answered so again.
        return ContentRefused(
            f"{name} answered with words and no picture: say in the prompt what to draw, or change"
            f" it.{words}",
            upstream_status=200,
        )
    why = f" ({scrub(reason)})" if reason not in {"", "STOP"} else ""
    return EngineFailed(
        f"{name} answered without a picture{why}: ask again, or change the prompt.{words}",
        upstream_status=200,
    )


def _quoted(text: str, scrub: Scrubber) -> str:
    return f' It said: "{scrub(text)}"' if text.strip() else ""


def word(text: str) -> str | None:
    """`text` when it is one of a vendor's words, such as `IMAGE_SAFETY`."""
    return text if WORD.fullmatch(text) else None
