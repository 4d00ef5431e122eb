"""Counts of tokens in the answers of engines: told on or left out, but never a reason to fail."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from darkroom.domain import GeneratedImage, Usage

#: The largest count that every database and JSON reader keeps.
MOST_TOKENS = 2**53 - 1


def with_usage(images: Sequence[GeneratedImage], usage: Usage | None) -> list[GeneratedImage]:
    """The pictures of one call, the first of which says what the call took."""
    return [replace(each, usage=usage if place == 0 else None) for place, each in enumerate(images)]


def openai_usage(content: Any) -> Usage | None:
    """What an answer, or the last event of a stream, in OpenAI's form says of its tokens."""
    usage = content.get("usage") if isinstance(content, dict) else None
    if not isinstance(usage, dict):
        return None
    details = usage.get("input_tokens_details")
    details = details if isinstance(details, dict) else {}
    return _usage(
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        details.get("text_tokens", 0),
        details.get("image_tokens", 0),
    )


def gemini_usage(metadata: Any) -> Usage | None:
    """What Google's `usageMetadata` says; what it thought before it drew is output as well."""
    if not isinstance(metadata, dict):
        return None
    read = metadata.get("promptTokenCount")
    total = metadata.get("totalTokenCount")
    if not _is_count(read) or not _is_count(total):
        return None
    return _usage(read, max(0, total - read), 0, 0)


def _usage(read: Any, written: Any, text: Any, images: Any) -> Usage | None:
    if not all(_is_count(each) for each in (read, written, text, images)):
        return None
    return Usage(
        input_tokens=read,
        output_tokens=written,
        input_text_tokens=text,
        input_image_tokens=images,
    )


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
