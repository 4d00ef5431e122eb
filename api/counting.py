"""Counters of calls, in Redis: how many came within a while, whichever process was called.

The scripts that count are those of the library `limits`. Redis has a quarter of a second to answer,
and is left alone for a while after it failed: nobody waits for a count.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import redis
import structlog
from limits import RateLimitItem
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.exceptions import NoScriptError

from darkroom.errors import Unavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: Goes before each key, so that other applications can share the Redis.
PREFIX = "darkroom:calls"

#: How long Redis may take to answer, in seconds.
ANSWERS_WITHIN_S = 0.25

#: How long it is not asked after it failed, in seconds.
LEFT_ALONE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Count:
    """How a counter stands after a call."""

    limit: int
    #: How many more calls are let through now.
    left: int
    #: Whether this call was one too many; it is not counted then.
    is_over: bool
    #: When one call is let through again, and when the counter is empty again, in seconds.
    retry_after_s: float
    empty_after_s: float


class Counters:
    """The counters of all callers."""

    def __init__(self, client: "redis.Redis") -> None:
        self._storage = RedisStorage(
            "redis://", connection_pool=client.connection_pool, key_prefix=PREFIX
        )
        self._attempts = MovingWindowRateLimiter(self._storage)
        self._client = client
        self._is_away = False
        self._left_alone_until = -math.inf

    def count(self, limits: Mapping[str, int], *, window_s: int) -> list[Count]:
        """Count one call with each counter, or with none where one of them is full.

        `limits` says how many calls each lets through in any `window_s` seconds. The window slides:
        those of the one before count by how much of it still overlaps. Raises Unavailable.
        """
        if len(limits) > 1:
            seen = self._ask(lambda: self._call(limits, window_s, takes=False))
            counts = [
                _count(limit, window_s, window=window)
                for limit, window in zip(limits.values(), seen, strict=True)
            ]
            if any(each.is_over for each in counts):
                return counts
        found = self._ask(lambda: self._call(limits, window_s, takes=True))
        pairs = zip(found[::2], found[1::2], strict=True)
        return [
            replace(_count(limit, window_s, window=window), is_over=not taken)
            for limit, (taken, window) in zip(limits.values(), pairs, strict=True)
        ]

    def hit(self, item: RateLimitItem, key: str) -> bool:
        """Count one attempt, unless there were too many. Raises Unavailable."""
        return self._ask(lambda: self._attempts.hit(item, key))

    def test(self, item: RateLimitItem, key: str) -> bool:
        """Whether another attempt is let through. Raises Unavailable."""
        return self._ask(lambda: self._attempts.test(item, key))

    def clear(self, item: RateLimitItem, key: str) -> None:
        """Forget all attempts. Raises Unavailable."""
        self._ask(lambda: self._attempts.clear(item, key))

    def free_at(self, item: RateLimitItem, key: str) -> float:
        """When the oldest attempt is forgotten (Unix time, in seconds). Raises Unavailable."""
        return self._ask(lambda: self._attempts.get_window_stats(item, key).reset_time)

    def _ask(self, ask: Callable[[], T]) -> T:
        if time.monotonic() < self._left_alone_until:
            raise Unavailable("Redis failed a moment ago.")
        try:
            answer = ask()
        except redis.RedisError as error:
            self._left_alone_until = time.monotonic() + LEFT_ALONE_S
            if not self._is_away:
                self._is_away = True
                log.warning("calls are not counted while Redis is away", reason=str(error))
            raise Unavailable(f"Redis does not answer: {error}") from error
        if self._is_away:
            self._is_away = False
            log.info("calls are counted again")
        return answer

    def _call(
        self, limits: Mapping[str, int], window_s: int, *, takes: bool
    ) -> list[list[int | None]]:
        try:
            return self._send(limits, window_s, takes=takes)
        except NoScriptError:
            # The one that counts comes last. Were it there alone for a moment, another process
            # would count with it, miss the other, and count once more.
            for each in (
                self._storage.lua_sliding_window,
                self._storage.lua_acquire_sliding_window,
            ):
                self._client.script_load(each.script)
            return self._send(limits, window_s, takes=takes)

    def _send(
        self, limits: Mapping[str, int], window_s: int, *, takes: bool
    ) -> list[list[int | None]]:
        """Look at each counter, after taking one from it or without."""
        take = self._storage.lua_acquire_sliding_window.sha
        look = self._storage.lua_sliding_window.sha
        # Not by the library's own calls, each of which would be a round trip.
        pipeline = self._client.pipeline(transaction=False)
        for name, limit in limits.items():
            # In braces, which keep both on one server of a Redis cluster.
            current = f"{PREFIX}:{{{name}}}"
            keys = (f"{current}/-1", current)
            if takes:
                pipeline.evalsha(take, 2, *keys, str(limit), str(window_s), "1")
            pipeline.evalsha(look, 2, *keys, str(window_s))
        found: list[list[int | None]] = pipeline.execute()
        return found


def _count(limit: int, window_s: int, *, window: list[int | None]) -> Count:
    before, before_ends_ms, now, now_ends_ms = (int(each or 0) for each in window)
    before_ends_s = max(0, before_ends_ms) / 1000
    # A counter is kept for two windows: in the first it counts, in the second it fades.
    now_fades_in_s = max(0, now_ends_ms) / 1000 - window_s
    left = max(0, limit - now - math.floor(before * before_ends_s / window_s))
    return Count(
        limit=limit,
        left=left,
        is_over=not left,
        retry_after_s=_fits_after(limit, window_s, before, before_ends_s, now, now_fades_in_s),
        empty_after_s=now_fades_in_s + window_s if now else before_ends_s,
    )


def _fits_after(
    limit: int, window_s: int, before: int, before_ends_s: float, now: int, now_fades_in_s: float
) -> float:
    """How long it takes until another call fits, in seconds."""
    if now < limit and before:
        return max(0.0, before_ends_s - window_s * (limit - now) / before)
    if now < limit:
        return 0.0
    return now_fades_in_s + window_s * (1 - limit / now)
