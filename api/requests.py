"""Every request has an id: taken from `X-Request-ID` or made, sent back, and on every log line.

It is counted, timed and logged too, and is a span of its caller's trace or of a new one.
"""

import re
import time
import uuid

import structlog
from flask import Flask, Response, g, got_request_exception, request

from darkroom.errors import NotFound
from darkroom.watch import failures, tracing
from darkroom.watch.meters import meters

log = structlog.get_logger(__name__)

#: What a foreign id may look like: it goes into logs and headers.
ACCEPTABLE = re.compile(r"[A-Za-z0-9._:-]{1,128}")

#: Asked too often to be worth a line or a span each.
QUIET = {"/health", "/ready", "/metrics"}


def track_requests(app: Flask) -> None:
    """Number, time, count and log all requests of the application."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_close)
    got_request_exception.connect(_report, app)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if ACCEPTABLE.fullmatch(given) else str(uuid.uuid4())
    g.began = time.monotonic()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
    if request.path not in QUIET:
        _open_span()
    if any("\0" in str(each) for each in (request.view_args or {}).values()):
        # No id holds one, and PostgreSQL does not even look.
        raise NotFound("There is no such thing.")


def _open_span() -> None:
    g.span = tracing.span(
        f"{request.method} {_route()}",
        kind="server",
        parent=request.headers.get("traceparent"),
        request_id=g.request_id,
        method=request.method,
        route=_route(),
    )
    g.noted = g.span.__enter__()


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    took_s = time.monotonic() - g.began
    meters().request_ended(
        method=request.method, route=_route(), status=response.status_code, took_s=took_s
    )
    if "noted" in g:
        g.noted.note(status=response.status_code)
    if request.path not in QUIET:
        log.info(
            "request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            took_s=round(took_s, 3),
        )
    return response


def _close(error: BaseException | None) -> None:
    if "span" in g:
        g.pop("span").__exit__(None, None, None)


def _report(sender: Flask, exception: Exception, **_: object) -> None:
    failures.report(exception)


def _route() -> str:
    """The route's template, for paths are chosen by callers."""
    return request.url_rule.rule if request.url_rule is not None else "none"
