"""Reading an engine's wish to be left alone."""

import time
from email.utils import formatdate

import pytest
from requests.structures import CaseInsensitiveDict

from engines.answers import Answer


def an_answer(**headers: str) -> Answer:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Answer(status=429, headers=CaseInsensitiveDict(named), body=b"")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "1.5"}, 1.5),
        ({"Retry_After": "-3"}, 0.0),
        ({"Retry_After": "7", "retry_after_ms": "250"}, 0.25),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "nan"}, None),
        ({"Retry_After": "inf"}, None),
        ({"Retry_After": ""}, None),
        ({"Retry_After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"Retry_After": "Thu, 99 Foo 9999 99:99:99 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert an_answer(**headers).retry_after_s == seconds


def test_retry_after_may_be_a_date() -> None:
    date = formatdate(time.time() + 60, usegmt=True)

    assert an_answer(Retry_After=date).retry_after_s == pytest.approx(60, abs=5)
