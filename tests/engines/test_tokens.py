"""Counts of tokens are read as they are told, and never fail a picture."""

from typing import Any

import pytest

from darkroom.domain import GeneratedImage, Usage
from engines.tokens import gemini_usage, openai_usage, with_usage

COUNTED = {
    "total_tokens": 1100,
    "input_tokens": 50,
    "output_tokens": 1050,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
}


def test_openais_counts_are_read() -> None:
    assert openai_usage({"usage": COUNTED}) == Usage(
        input_tokens=50, output_tokens=1050, input_text_tokens=10, input_image_tokens=40
    )


def test_details_may_be_missing() -> None:
    assert openai_usage({"usage": COUNTED | {"input_tokens_details": None}}) == Usage(
        input_tokens=50, output_tokens=1050
    )


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        {},
        COUNTED | {"input_tokens": "50"},
        COUNTED | {"input_tokens": -1},
        COUNTED | {"output_tokens": True},
        COUNTED | {"output_tokens": 2**60},
        COUNTED | {"input_tokens_details": {"text_tokens": 1.5}},
    ],
)
def test_what_is_no_count_is_left_out(usage: Any) -> None:
    assert openai_usage({"usage": usage}) is None


def test_googles_counts_are_read_with_its_thoughts() -> None:
    metadata = {"promptTokenCount": 12, "thoughtsTokenCount": 90, "totalTokenCount": 1392}

    assert gemini_usage(metadata) == Usage(input_tokens=12, output_tokens=1380)
    assert gemini_usage({"promptTokenCount": 12}) is None
    assert gemini_usage("12") is None


def test_a_call_counts_once_for_all_its_pictures() -> None:
    usage = Usage(input_tokens=1, output_tokens=2)

    images = with_usage([GeneratedImage(data=b"a"), GeneratedImage(data=b"b")], usage)

    assert [each.usage for each in images] == [usage, None]
    assert usage + usage == Usage(input_tokens=2, output_tokens=4)
    assert usage.total_tokens == 3
