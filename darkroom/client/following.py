"""Streams that go on until what they tell of is over, however often the connection breaks."""

import json
import time
from collections.abc import Callable, Generator, Iterator

import requests

from darkroom.client.records import Batch, BatchResult, Job
from darkroom.client.transport import LOST, Call, Transport
from darkroom.errors import Unavailable

#: The server says something at least every 15 seconds; one that says nothing for so long is gone.
SILENCE_S = 45.0

#: How long nobody may answer before a follower gives up, in seconds.
PATIENCE_S = 60.0

#: How often a job is looked at while the server has no place for another stream, in seconds.
POLL_EVERY_S = 1.0

#: The shortest silence that is waited for, in seconds.
SHORTEST_S = 0.25


class NotFinished(TimeoutError):
    """The time was over before the job was. It goes on at the server: wait again, or cancel it."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"Job {job.id} is not finished yet; it goes on at the server.")
        #: As it stood when last seen.
        self.job = job


class Patience:
    """Counts how long a server has been away, and when the caller's own time is over."""

    def __init__(self, timeout_s: float | None) -> None:
        self._ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        self.renew()

    def renew(self) -> None:
        """The server gave a sign of life."""
        self._seen_at = time.monotonic()

    @property
    def left_s(self) -> float:
        """Seconds until the caller's time is over, at most those of a long silence."""
        return SILENCE_S if self._ends_at is None else self._ends_at - time.monotonic()

    @property
    def silence_s(self) -> float:
        """How long to listen to a silent connection."""
        return max(SHORTEST_S, min(SILENCE_S, self.left_s))

    def rest(self) -> None:
        """Give a server that ended a stream early a moment."""
        time.sleep(max(0.0, min(SHORTEST_S, self.left_s)))

    def pause(self, failure: Exception) -> None:
        """Wait a little before the next try. Raises Unavailable after too long without answers."""
        if time.monotonic() - self._seen_at > PATIENCE_S:
            raise Unavailable(
                f"The connection broke and could not be made again for {PATIENCE_S:.0f} s."
            ) from failure
        time.sleep(max(0.0, min(POLL_EVERY_S, self.left_s)))


def follow_job(
    transport: Transport, job: Job, look: Callable[[], Job], timeout_s: float | None
) -> Iterator[Job]:
    """The job now and after every change, the last time when it is finished.

    `look` asks for the job once. Raises NotFinished, or Unavailable when the server is away too
    long.
    """
    patience = Patience(timeout_s)
    seen: int | None = None
    while True:
        try:
            for each in _events(transport, job.id, seen, patience):
                yield each
                job, seen = each, each.revision
        except LOST as error:
            patience.pause(error)
        except Unavailable as error:
            # It has no place for another stream, or is just being started again.
            patience.pause(error)
            job = yield from _looked_at(job, look, patience)
        if job.status.is_finished:
            return
        if patience.left_s <= 0:
            raise NotFinished(job)


def _looked_at(job: Job, look: Callable[[], Job], patience: Patience) -> Generator[Job, None, Job]:
    """Poll once: yields the job when it can be seen; returns it."""
    try:
        job = look()
    except Unavailable as error:
        patience.pause(error)
        return job
    patience.renew()
    yield job
    return job


def _events(
    transport: Transport, job_id: str, seen: int | None, patience: Patience
) -> Iterator[Job]:
    """The events of one connection, until it ends or it is time to listen less long."""
    silence_s = patience.silence_s
    call = Call(
        method="GET",
        path=f"/api/v1/jobs/{job_id}/events",
        headers={"Accept": "text/event-stream"}
        | ({} if seen is None else {"Last-Event-ID": str(seen)}),
        is_streamed=True,
        timeout_s=silence_s,
    )
    with transport.send(call) as response:
        for line in _lines(response):
            patience.renew()
            name, _, data = line.partition(b":")
            if name == b"data":
                job = Job.read(json.loads(data))
                yield job
                if job.status.is_finished:
                    return
            if patience.left_s < silence_s / 2:
                return
    patience.rest()


def follow_results(
    transport: Transport, batch_id: str, look: Callable[[], Batch], *, follow: bool
) -> Iterator[BatchResult]:
    """The finished items of a batch, each once; with `follow` until the batch is over.

    Every connection begins anew with the first result. Raises Unavailable when the server is away
    too long.
    """
    patience = Patience(None)
    seen = set[str]()
    while True:
        try:
            known = len(seen)
            for each in _results(transport, batch_id, patience, follow=follow):
                if each.custom_id not in seen:
                    seen.add(each.custom_id)
                    yield each
            # A server that stops ends the stream early: what came after is told by another one.
            if not follow or _is_told(look(), seen, news=len(seen) - known):
                return
            patience.rest()
        except LOST as error:
            patience.pause(error)
        except Unavailable as error:
            patience.pause(error)


def _is_told(batch: Batch, seen: set[str], *, news: int) -> bool:
    return batch.is_finished and (len(seen) >= batch.counts.total or news == 0)


def _results(
    transport: Transport, batch_id: str, patience: Patience, *, follow: bool
) -> Iterator[BatchResult]:
    call = Call(
        method="GET",
        path=f"/api/v1/batches/{batch_id}/results",
        params={"follow": "true" if follow else "false"},
        headers={"Accept": "application/x-ndjson"},
        is_streamed=True,
        timeout_s=SILENCE_S,
    )
    with transport.send(call) as response:
        for line in _lines(response):
            patience.renew()
            if line.strip():
                yield BatchResult.read(json.loads(line))


def _lines(response: requests.Response) -> Iterator[bytes]:
    """The complete lines of an answer, as soon as they are there."""
    rest = b""
    for piece in response.iter_content(chunk_size=None):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
