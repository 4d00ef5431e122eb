"""Leases: how a worker process takes its jobs and keeps them, and learns that it lost one.

One thread renews the leases of all jobs of the process with one UPDATE, every third of a lease;
another looks every second which of them somebody asked to cancel. The job's own thread hears of
either the next time it reports progress.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from darkroom.domain import Job
from darkroom.errors import Canceled, Interrupted, LeaseLost, Unavailable, WorkerStops
from darkroom.pools import PoolOf, single
from storage.attempts import Attempts

log = structlog.get_logger(__name__)


class Lease:
    """One job's ownership by this process."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._verdict: Interrupted | None = None

    def check(self) -> None:
        """Raises Canceled, LeaseLost or WorkerStops once the work must stop."""
        if self._verdict is not None:
            raise self._verdict

    def end(self, verdict: Interrupted) -> None:
        self._verdict = verdict


class Leases:
    """All jobs this process owns."""

    def __init__(self, attempts: Attempts, *, worker: str, lease_s: float) -> None:
        self.worker = worker
        self.lease_s = lease_s
        self._attempts = attempts
        self._held: dict[str, Lease] = {}
        self._is_closed = False
        #: The ids that threads of this process claim or work on, once for each of them.
        self._wanted: list[str] = []
        self._lock = threading.Lock()

    @contextmanager
    def claiming(
        self, job_id: str, *, pools: Callable[[], PoolOf] = lambda: single
    ) -> Iterator[Callable[[], Job | None]]:
        """Yields `claim()`, which takes the job or returns None when it is not to be had.

        `pools` gives the servers that jobs can go to at that moment.

        It may be called again when it raises Unavailable: if only its answer was lost the job is
        ours, which is sure as long as no other thread of the process wants it. So the block must
        last until the work is done.
        """
        is_unanswered = False

        def claim() -> Job | None:
            nonlocal is_unanswered
            pool_of = pools()
            try:
                job = self._attempts.claim(
                    job_id, worker=self.worker, lease_s=self.lease_s, pool_of=pool_of
                )
            except Unavailable:
                is_unanswered = True
                raise
            if job is None and is_unanswered and self._wants_once(job_id):
                job = self._attempts.adopt(job_id, worker=self.worker, lease_s=self.lease_s)
            return job

        with self._lock:
            self._wanted.append(job_id)
        try:
            yield claim
        finally:
            with self._lock:
                self._wanted.remove(job_id)

    def forsake(self, job: Job) -> None:
        """Leave a job to its lease: its end could not be written. This process must never take it
        for a claim of which it did not hear, and draw it again."""
        with self._lock:
            self._wanted.append(job.id)

    @contextmanager
    def holding(self, job: Job) -> Iterator[Lease]:
        """Renew the job's lease until the block ends."""
        lease = Lease(job)
        with self._lock:
            self._held[job.id] = lease
            if self._is_closed:
                lease.end(WorkerStops("This worker is stopping."))
        try:
            yield lease
        finally:
            with self._lock:
                # A later attempt of the same job may have taken the place.
                if self._held.get(job.id) is lease:
                    del self._held[job.id]

    def held(self) -> list[Lease]:
        """The jobs this process owns right now."""
        with self._lock:
            return list(self._held.values())

    def close(self) -> list[Lease]:
        """Begin nothing any more: returns the jobs this process owns, and every later one is told
        to stop as soon as it is held."""
        with self._lock:
            self._is_closed = True
            return list(self._held.values())

    def look_for_cancels(self) -> None:
        """Tell the jobs that somebody asked to cancel."""
        held = {lease.job.id: lease for lease in self.held()}
        try:
            canceling = self._attempts.canceling_among(held)
        except Unavailable as error:
            log.warning("cancels not looked for", reason=error.detail)
            return
        for job_id in canceling:
            held[job_id].end(Canceled("The job was canceled."))

    def beat(self) -> None:
        """Renew everything in one UPDATE, and tell the jobs that are not ours any more."""
        held = {lease.job.id: lease for lease in self.held()}
        attempts = {job_id: lease.job.attempt for job_id, lease in held.items()}
        try:
            ours = self._attempts.renew(self.worker, attempts, lease_s=self.lease_s)
        except Unavailable as error:
            # The fence decides once the database is back; until then the work goes on.
            log.warning("leases not renewed", reason=error.detail)
            return
        for job_id in held.keys() - ours:
            held[job_id].end(LeaseLost(f"Job {job_id} is not owned by this worker any more."))

    def _wants_once(self, job_id: str) -> bool:
        with self._lock:
            return self._wanted.count(job_id) == 1
