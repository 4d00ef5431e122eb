"""Every request has an id: taken from `X-Request-ID` or made, sent back, and on every log line."""

import re
import time
import uuid

import structlog
from flask import Flask, Response, g, request

from darkroom.errors import NotFound

log = structlog.get_logger(__name__)

#: What a foreign id may look like: it goes into logs and headers.
ACCEPTABLE = re.compile(r"[A-Za-z0-9._:-]{1,128}")

#: Asked too often to be worth a line each.
QUIET = {"/health", "/ready", "/metrics"}


def track_requests(app: Flask) -> None:
    """Number, time and log all requests of the application."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if ACCEPTABLE.fullmatch(given) else str(uuid.uuid4())
    g.began = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
    if any("\0" in str(each) for each in (request.view_args or {}).values()):
        # No id holds one, and PostgreSQL does not even look.
        raise NotFound("There is no such thing.")


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    if request.path not in QUIET:
        log.info(
            "request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            took_s=round(time.monotonic() - g.began, 3),
        )
    return response
