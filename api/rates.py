"""How often somebody may ask for pictures: counted by account and by API key, told in headers."""

import hashlib
import math
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import Flask, Response, g, request

from api.auth import current_user
from api.counting import Count
from api.dialects import is_openai
from api.services import Services, services
from darkroom.errors import RateLimited, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

WINDOW_S = 60


def rated(handler: Callable[P, R]) -> Callable[P, R]:
    """Refuse a call when the account or its API key asked too often; below `permitted`."""

    @wraps(handler)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        _count_call(services())
        return handler(*args, **kwargs)

    wrapper.__dict__.setdefault("_apidoc", {})["is_rated"] = True
    return wrapper


def tell_rates(app: Flask) -> None:
    """Say on every answer to a call that was counted what is left."""
    app.after_request(_tell)


def _count_call(services: Services) -> None:
    limits = _limits(services)
    if not limits:
        return
    try:
        counts = services.counters.count(limits, window_s=WINDOW_S)
    except Unavailable:
        # It guards comfort: jobs can be accepted without Redis.
        return
    g.rate = min(counts, key=lambda each: (not each.is_over, each.left))
    if g.rate.is_over:
        raise RateLimited(
            f"At most {g.rate.limit} calls a minute may ask for pictures: try again after"
            f" {_whole(g.rate.retry_after_s)} seconds, or send many requests as one batch.",
            retry_after_s=_whole(g.rate.retry_after_s),
        )


def _limits(services: Services) -> dict[str, int]:
    """How many calls a minute each counter of this caller lets through."""
    user, usual = current_user(), services.settings
    of_user = user.limits.requests_per_minute or usual.requests_per_minute
    limits = {f"user:{user.id}": of_user} if of_user else {}
    of_key = user.limits.requests_per_minute_per_key or usual.requests_per_minute_per_key
    if of_key and g.api_key is not None:
        # No secret belongs into Redis.
        limits[f"key:{hashlib.sha256(g.api_key.encode()).hexdigest()[:32]}"] = of_key
    return limits


def _tell(response: Response) -> Response:
    count: Count | None = g.get("rate")
    if count is None:
        return response
    empty_after_s = math.ceil(count.empty_after_s)
    response.headers["RateLimit-Limit"] = str(count.limit)
    response.headers["RateLimit-Remaining"] = str(count.left)
    response.headers["RateLimit-Reset"] = str(empty_after_s)
    if is_openai(request.path):
        response.headers["x-ratelimit-limit-requests"] = str(count.limit)
        response.headers["x-ratelimit-remaining-requests"] = str(count.left)
        response.headers["x-ratelimit-reset-requests"] = _as_openai_writes(empty_after_s)
    return response


def _whole(seconds: float) -> int:
    """Rounded up, so that a call is not too early by a hair."""
    return math.floor(seconds) + 1


def _as_openai_writes(seconds: int) -> str:
    """`75` as `1m15s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
