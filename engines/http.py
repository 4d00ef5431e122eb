"""How every remote engine is called over HTTP.

One call is one request: it is never repeated and never redirected, ends at its deadline whatever
the server does, and fails with an `EngineError` that says whether the engine may have worked.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from queue import Empty, SimpleQueue
from threading import Thread

import orjson
import requests
from requests.auth import AuthBase
from urllib3 import encode_multipart_formdata

from engines.answers import Answer
from engines.events import Event, EventReader
from engines.exchange import Body, Exchange
from engines.scrubbing import Scrubber
from engines.watching import watched

CONNECT_TIMEOUT_S = 10.0
#: How often a waiting call lets its caller stop it.
TICK_S = 0.5
#: Ten large pictures in base64.
LARGEST_ANSWER_BYTES = 256 * 1024 * 1024

#: A multipart form: names with text, or with a file's name, bytes and media type. A name may come
#: more than once.
Form = Sequence[tuple[str, str | tuple[str, bytes, str]]]


class _Headers(AuthBase):
    """Our own headers for one request.

    It is an auth object even when it has nothing to add: without one, requests looks into the
    user's `.netrc` and may replace the engine's key by what it finds there. The environment is
    trusted otherwise, because people behind a proxy need `HTTPS_PROXY` and their own certificates.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self.headers)
        return request


class Http:
    """Calls one engine. Safe to use from several threads."""

    def __init__(
        self, engine: str, *, headers: Mapping[str, str], secrets: Iterable[str] = ()
    ) -> None:
        """`headers` sign the calls; `secrets` never come through `scrub`."""
        self.engine = engine
        self.scrub = Scrubber(secrets)
        self._headers = headers

    def call(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        json: object = None,
        form: Form | None = None,
        signed: bool = True,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        largest_bytes: int = LARGEST_ANSWER_BYTES,
        keep_waiting: Callable[[], None] = lambda: None,
        on_event: Callable[[Event], bool] | None = None,
    ) -> Answer:
        """Send one request and read its answer, whatever its status, within `timeout_s`.

        The body is `json`, or a `form`. `signed` sends the engine's credentials. `keep_waiting` is
        called about twice a second; what it raises ends the wait and passes, and the answer is
        dropped when it comes.

        With `on_event`, an answer that is a stream of events is given to it event by event, as they
        come; the answer that is returned then has no body. It returns whether it has seen enough:
        then nothing more is read. What it raises passes like that of `keep_waiting`.

        Raises EngineUnreachable when nothing was sent or nothing was asked to be drawn,
        OutcomeUnknown when a body was sent and its answer lost, Misconfigured for an address that
        cannot be used, EngineFailed for an answer over `largest_bytes`.
        """
        headers = dict(self._headers) if signed else {}
        body = None
        if json is not None:
            headers["Content-Type"] = "application/json"
            body = Body(orjson.dumps(json))
        elif form is not None:
            content, headers["Content-Type"] = encode_multipart_formdata(form)
            body = Body(content)
        exchange = Exchange(
            engine=self.engine,
            method=method,
            url=url,
            auth=_Headers(headers),
            body=body,
            deadline=time.monotonic() + timeout_s,
            connect_timeout_s=connect_timeout_s,
            largest_bytes=largest_bytes,
        )
        with watched(self.engine, method, url, self.scrub) as call:
            answer = _run_in_background(exchange, keep_waiting, on_event)
            call.status = answer.status
        return answer


def _run_in_background(
    exchange: Exchange,
    keep_waiting: Callable[[], None],
    on_event: Callable[[Event], bool] | None,
) -> Answer:
    """Run `exchange` where it cannot hold up the caller, who may lose patience or interest.

    A thread that nobody waits for any more ends when the server hangs up or falls silent until the
    deadline. It is a daemon, so that it does not hold up the end of the process either.
    """
    future: Future[Answer] = Future()
    #: Pieces of a stream; None when the exchange is over.
    pieces: SimpleQueue[Answer | None] = SimpleQueue()

    def work() -> None:
        try:
            future.set_result(exchange.run(pieces.put if on_event else None))
        except BaseException as error:  # noqa: BLE001 - raised again where the caller waits
            future.set_exception(error)
        finally:
            pieces.put(None)

    Thread(target=work, name=f"http-{exchange.engine}", daemon=True).start()
    events = EventReader()
    next_tick = time.monotonic() + TICK_S
    try:
        while True:
            try:
                piece = pieces.get(
                    timeout=max(min(next_tick - time.monotonic(), exchange.left_s), 0.0)
                )
            except Empty:
                pass
            else:
                if piece is None:
                    answer = future.result()
                    _is_enough(events.end(), on_event)
                    return answer
                if _is_enough(events.feed(piece.body), on_event):
                    return replace(piece, body=b"")
            if time.monotonic() >= next_tick or exchange.left_s <= 0:
                keep_waiting()
                next_tick = time.monotonic() + TICK_S
            if exchange.left_s <= 0 and not future.done():
                raise exchange.late()
    finally:
        exchange.abandon()


def _is_enough(events: Iterable[Event], on_event: Callable[[Event], bool] | None) -> bool:
    """Give events away until one of them was enough."""
    return on_event is not None and any(on_event(each) for each in events)
