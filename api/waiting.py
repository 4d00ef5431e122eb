"""Waiting for jobs without a connection, a poll or a busy thread for each waiting call.

Each API process has one thread that listens on Redis for the ids of finished and changed jobs; each
call that waits for a job's end, or follows a job, has an event. The order is what makes it sound:
register the event, *then* read the row, then wait. A message that came before the registration is
answered by the row, one that comes after it sets the event. Messages can be lost (Redis restarts),
so the thread also asks the database about all waited-for ids every two seconds and after each
reconnect, and that question alone, asked more often, carries the service while Redis is away.
Whoever follows a job reads its row that often too.
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
from darkroom.watch import tracing
from darkroom.watch.meters import meters

log = structlog.get_logger(__name__)

#: How often the database is asked about all waited-for jobs: with Redis, and without. Seconds.
RECHECK_EVERY_S = 2.0
RECHECK_WITHOUT_REDIS_S = 0.25

#: How often a waiting call looks up: is its caller still there, is the process stopping? Seconds.
LOOK_UP_EVERY_S = 1.0


class Waiter:
    """All calls of this process that wait for jobs or follow them."""

    def __init__(
        self,
        *,
        subscribe: Callable[[], "redis.client.PubSub"],
        finished_among: Callable[[Collection[str]], set[str]],
        capacity: int,
    ) -> None:
        self._subscribe = subscribe
        self._finished_among = finished_among
        self._capacity = capacity
        #: How many calls hold a place right now.
        self.held = 0
        self._waiting = _Bells()
        self._following = _Bells()
        self._lock = threading.Lock()
        self._listener: threading.Thread | None = None
        self._stopping = threading.Event()
        meters().calls_wait(0)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """A place to wait in, or False when all are taken: threads must be left for others."""
        with self._lock:
            is_free = self.held < self._capacity and not self._stopping.is_set()
            self.held += is_free
            meters().calls_wait(self.held)
        try:
            yield is_free
        finally:
            with self._lock:
                self.held -= is_free
                meters().calls_wait(self.held)

    def wait(
        self, job_id: str, timeout_s: float, *, is_gone: Callable[[], bool] = lambda: False
    ) -> None:
        """Return when the job is finished, the time is up, the caller is gone or the process
        stops; the row says which. Raises Unavailable when the database does not answer."""
        deadline = time.monotonic() + timeout_s
        with tracing.span("wait", job_id=job_id), self._waiting.hung_up(job_id) as finished:
            self._listen()
            if self._finished_among([job_id]):
                return
            while (left := deadline - time.monotonic()) > 0:
                if finished.wait(min(left, LOOK_UP_EVERY_S)):
                    return
                if self._stopping.is_set() or is_gone():
                    return

    @contextmanager
    def follow(self, job_id: str) -> Iterator["Following"]:
        """Hear of every change of a job from now on: follow first, then read the row."""
        with self._following.hung_up(job_id) as bell:
            self._listen()
            yield Following(bell, self._stopping)

    def drain(self) -> None:
        """Let every call that waits or follows end now, and no new one begin."""
        self._stopping.set()
        for bells in (self._waiting, self._following):
            bells.ring(bells.job_ids())

    def _listen(self) -> None:
        """See to it that the listening thread runs."""
        with self._lock:
            if self._listener is None or not self._listener.is_alive():
                self._listener = threading.Thread(target=self._hear, name="job-waiter", daemon=True)
                self._listener.start()

    def _hear(self) -> None:
        is_away = False
        while not self._stopping.is_set():
            try:
                with self._subscribe() as subscription:
                    subscription.subscribe(bus.FINISHED, bus.CHANGED)
                    self._pass_on(subscription)
            except redis.RedisError as error:
                if not is_away:
                    log.warning("broker out of reach, asking the database", reason=str(error))
                is_away = True
                self._recheck()
                self._stopping.wait(RECHECK_WITHOUT_REDIS_S)
            else:
                is_away = False

    def _pass_on(self, subscription: Any) -> None:
        next_recheck = 0.0
        while not self._stopping.is_set():
            message = subscription.get_message(timeout=RECHECK_EVERY_S / 4)
            if message is not None and message["type"] == "subscribe":
                # New on the channel: whatever was said before is lost.
                next_recheck = 0.0
            elif message is not None and message["type"] == "message":
                self._following.ring([message["data"]])
                if message["channel"] == bus.FINISHED:
                    self._waiting.ring([message["data"]])
            if time.monotonic() >= next_recheck:
                self._recheck()
                next_recheck = time.monotonic() + RECHECK_EVERY_S

    def _recheck(self) -> None:
        waited_for = self._waiting.job_ids()
        if not waited_for:
            return
        try:
            self._waiting.ring(self._finished_among(waited_for))
        except Unavailable as error:
            log.warning("waiting calls not checked", reason=error.detail)


class Following:
    """One call's ear for a job."""

    def __init__(self, bell: threading.Event, stopping: threading.Event) -> None:
        self._bell = bell
        self._stopping = stopping

    @property
    def is_over(self) -> bool:
        """Whether the process stops."""
        return self._stopping.is_set()

    def wait(self) -> None:
        """Return when there may be news of the job, at most `RECHECK_EVERY_S` later: read its row
        then. News that comes while it is read ends the next wait at once."""
        self._bell.wait(RECHECK_EVERY_S)
        self._bell.clear()


class _Bells:
    """An event for each call, by the job it is about."""

    def __init__(self) -> None:
        self._events: defaultdict[str, set[threading.Event]] = defaultdict(set)
        self._lock = threading.Lock()

    @contextmanager
    def hung_up(self, job_id: str) -> Iterator[threading.Event]:
        event = threading.Event()
        with self._lock:
            self._events[job_id].add(event)
        try:
            yield event
        finally:
            with self._lock:
                self._events[job_id].discard(event)
                if not self._events[job_id]:
                    del self._events[job_id]

    def job_ids(self) -> list[str]:
        with self._lock:
            return list(self._events)

    def ring(self, job_ids: Collection[str]) -> None:
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
