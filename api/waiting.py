"""Waiting for jobs without a connection, a poll or a busy thread for each waiting call.

Each API process has one thread that listens on Redis for the ids of finished jobs; each waiting
call has an event. The order is what makes it sound: register the event, *then* read the row,
then wait. A message that came before the registration is answered by the row, one that comes
after it sets the event. Messages can be lost (Redis restarts), so the thread also asks the
database about all waited-for ids every two seconds and after each reconnect, and that question
alone, asked more often, carries the service while Redis is away.
"""

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
import structlog

from darkroom import bus
from darkroom.errors import Unavailable

log = structlog.get_logger(__name__)

#: How often the database is asked about all waited-for jobs: with Redis, and without. Seconds.
RECHECK_EVERY_S = 2.0
RECHECK_WITHOUT_REDIS_S = 0.25

#: How often a waiting call looks up: is its caller still there, is the process stopping? Seconds.
LOOK_UP_EVERY_S = 1.0


class Waiter:
    """All waiting calls of this process."""

    def __init__(
        self,
        *,
        subscribe: Callable[[], "redis.client.PubSub"],
        finished_among: Callable[[Collection[str]], set[str]],
        capacity: int,
    ) -> None:
        self._subscribe = subscribe
        self._finished_among = finished_among
        self._places = threading.BoundedSemaphore(capacity)
        self._events: defaultdict[str, set[threading.Event]] = defaultdict(set)
        self._lock = threading.Lock()
        self._listener: threading.Thread | None = None
        self._stopping = threading.Event()

    @contextmanager
    def place(self) -> Iterator[bool]:
        """A place to wait in, or False when all are taken: threads must be left for others."""
        taken = not self._stopping.is_set() and self._places.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._places.release()

    def wait(
        self, job_id: str, timeout_s: float, *, is_gone: Callable[[], bool] = lambda: False
    ) -> None:
        """Return when the job is finished, the time is up, the caller is gone or the process
        stops; the row says which. Raises Unavailable when the database does not answer."""
        deadline = time.monotonic() + timeout_s
        with self._registered(job_id) as finished:
            if self._finished_among([job_id]):
                return
            while (left := deadline - time.monotonic()) > 0:
                if finished.wait(min(left, LOOK_UP_EVERY_S)):
                    return
                if self._stopping.is_set() or is_gone():
                    return

    def drain(self) -> None:
        """Let every waiting call answer now, and no new one wait."""
        self._stopping.set()
        self._wake(self._waited_for())

    @contextmanager
    def _registered(self, job_id: str) -> Iterator[threading.Event]:
        event = threading.Event()
        with self._lock:
            self._events[job_id].add(event)
            if self._listener is None or not self._listener.is_alive():
                self._listener = threading.Thread(
                    target=self._listen, name="job-waiter", daemon=True
                )
                self._listener.start()
        try:
            yield event
        finally:
            with self._lock:
                self._events[job_id].discard(event)
                if not self._events[job_id]:
                    del self._events[job_id]

    def _listen(self) -> None:
        is_away = False
        while not self._stopping.is_set():
            try:
                with self._subscribe() as subscription:
                    subscription.subscribe(bus.FINISHED)
                    self._follow(subscription)
            except redis.RedisError as error:
                if not is_away:
                    log.warning("broker out of reach, asking the database", reason=str(error))
                is_away = True
                self._recheck()
                self._stopping.wait(RECHECK_WITHOUT_REDIS_S)
            else:
                is_away = False

    def _follow(self, subscription: Any) -> None:
        next_recheck = 0.0
        while not self._stopping.is_set():
            message = subscription.get_message(timeout=RECHECK_EVERY_S / 4)
            if message is not None and message["type"] == "subscribe":
                # New on the channel: whatever was said before is lost.
                next_recheck = 0.0
            elif message is not None and message["type"] == "message":
                self._wake([message["data"]])
            if time.monotonic() >= next_recheck:
                self._recheck()
                next_recheck = time.monotonic() + RECHECK_EVERY_S

    def _recheck(self) -> None:
        waited_for = self._waited_for()
        if not waited_for:
            return
        try:
            self._wake(self._finished_among(waited_for))
        except Unavailable as error:
            log.warning("waiting calls not checked", reason=error.detail)

    def _waited_for(self) -> list[str]:
        with self._lock:
            return list(self._events)

    def _wake(self, job_ids: Collection[str]) -> None:
        with self._lock:
            for job_id in job_ids:
                for event in self._events.get(job_id, ()):
                    event.set()


def caller_is_gone(environ: Mapping[str, Any]) -> bool:
    """Whether the other end has hung up; False where the server does not let us look."""
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return False
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"")
    except BlockingIOError:
        return False
    except OSError:
        return True
