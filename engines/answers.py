"""What an engine answered over HTTP."""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from functools import cached_property
from typing import Any

import orjson


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer, read to its end."""

    status: int
    #: Case does not matter in its keys.
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_web_page(self) -> bool:
        """Whether it is HTML, as gateways and wrong addresses answer."""
        return self.body.lstrip()[:1] == b"<"

    @property
    def is_event_stream(self) -> bool:
        """Whether it is a stream of events, which tells its story as it comes."""
        kind = self.headers.get("content-type") or ""
        return self.is_success and kind.lower().startswith("text/event-stream")

    @property
    def retry_after_s(self) -> float | None:
        """How many seconds from now the engine wants to be left alone, where it says so."""
        milliseconds = _number(self.headers.get("retry-after-ms"))
        if milliseconds is not None:
            return milliseconds / 1000
        value = self.headers.get("retry-after")
        seconds = _number(value)
        return seconds if seconds is not None else _seconds_until(value)

    def json(self) -> Any:
        """The parsed body, or None when it is not JSON. It is parsed once: do not change it."""
        return self._content

    @cached_property
    def _content(self) -> Any:
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


def _number(text: str | None) -> float | None:
    with suppress(TypeError, ValueError):
        number = float(text or "")
        if math.isfinite(number):
            return max(number, 0.0)
    return None


def _seconds_until(text: str | None) -> float | None:
    moment = parsedate_tz(text or "")
    if moment is None:
        return None
    with suppress(ValueError, OverflowError):
        return max(mktime_tz(moment) - time.time(), 0.0)
    return None
