"""Each HTTP call to an engine is counted, logged and a span of the trace."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import structlog

from darkroom.errors import EngineError
from darkroom.watch import tracing
from darkroom.watch.meters import meters
from engines.scrubbing import Scrubber

log = structlog.get_logger(__name__)


class Call:
    """One call that is going on."""

    def __init__(self) -> None:
        self.status: int | None = None


@contextmanager
def watched(engine: str, method: str, url: str, scrub: Scrubber) -> Iterator[Call]:
    """Watch a call; tell the `Call` the status of its answer.

    The query is told nobody: it may hold a key.
    """
    call = Call()
    outcome = "stopped"
    server = str(structlog.contextvars.get_contextvars().get("server", ""))
    host, path = _parts(url, scrub)
    began = time.monotonic()
    with tracing.span(
        f"{method} {engine}",
        kind="client",
        engine=engine,
        method=method,
        host=host,
        path=path,
    ) as span:
        try:
            yield call
            outcome = "none" if call.status is None else f"{call.status // 100}xx"
        except EngineError as error:
            outcome = error.code
            raise
        finally:
            took_s = time.monotonic() - began
            span.note(status=call.status, outcome=outcome)
            meters().engine_called(engine, server, method, outcome, took_s)
            # What is only read is asked for again and again while a picture is drawn.
            say = log.debug if method == "GET" and call.status is not None else log.info
            say(
                "engine call",
                engine=engine,
                method=method,
                host=host,
                path=path,
                status=call.status,
                outcome=outcome,
                took_s=round(took_s, 3),
            )


def _parts(url: str, scrub: Scrubber) -> tuple[str, str]:
    """Host and path of an address, as far as it is one."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host = host if parts.port is None else f"{host}:{parts.port}"
    except ValueError:
        return "", ""
    return scrub(host), scrub(parts.path)
