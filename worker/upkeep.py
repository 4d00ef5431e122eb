"""Upkeep: what nobody else would do, done by every worker on a timer.

Jobs whose worker died go back into the queue or end; queued jobs that the queue does not know
are sent; files that a dead worker left are removed. Every step is a compare-and-set, so several
workers doing it at once is safe; a lock in Redis only spares the work.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis
import structlog

from darkroom import bus
from darkroom.domain import Job, JobError, JobStatus
from darkroom.errors import EngineError, OutcomeUnknown, Unavailable
from storage import Storage

log = structlog.get_logger(__name__)

LOCK = "darkroom:upkeep"

#: How old a queued job must be before it counts as not sent, in seconds: its caller may just be
#: about to send it.
SEND_AFTER_S = 5.0


@dataclass(kw_only=True)
class Upkeep:
    """One worker process's share of the upkeep."""

    storage: Storage
    broker: "redis.Redis"
    #: Hands a job's id to the queue. Raises Unavailable.
    send: Callable[[Job], None]
    #: Tells whoever waits that a job is finished.
    announce: Callable[[str], None]
    #: Whether an engine's calls cost money, by the engine's name.
    is_paid: Callable[[str], bool]
    worker: str
    lease_s: float
    max_attempts: int
    #: Not before this (monotonic seconds) are leases called expired: while the database was away
    #: nobody could renew them.
    _trust_leases_from: float = 0.0

    def round(self) -> None:
        """Do everything once."""
        try:
            if not self._has_turn():
                return
            if time.monotonic() >= self._trust_leases_from:
                for job in self.storage.jobs.with_expired_lease():
                    self._recover(job)
            self.storage.gallery.release_abandoned()
            self._send_unsent()
        except Unavailable as error:
            log.warning("upkeep put off", reason=error.detail)
            self._trust_leases_from = time.monotonic() + self.lease_s

    def _has_turn(self) -> bool:
        try:
            return bool(self.broker.set(LOCK, self.worker, nx=True, px=900))
        except redis.RedisError:
            # Leases must be recovered without a broker too.
            return True

    def _recover(self, job: Job) -> None:
        """Decide what becomes of a job whose worker gave no sign of life."""
        log.warning("lease expired", job_id=job.id, attempt=job.attempt, lost_worker=job.worker)
        if job.status is JobStatus.CANCELING:
            if self.storage.jobs.cancel_held(job):
                self.announce(job.id)
        elif self.is_paid(job.engine):
            self._give_up(
                job,
                OutcomeUnknown.code,
                "The worker died during a call that may have been charged, so it is not repeated."
                " Check the engine's own usage page, then send the request again.",
            )
        elif job.attempt >= self.max_attempts:
            self._give_up(
                job,
                EngineError.code,
                f"The worker died in each of {job.attempt} attempts; the workers' logs say why.",
            )
        else:
            self.storage.jobs.hand_back(job)

    def _give_up(self, job: Job, code: str, detail: str) -> None:
        if self.storage.jobs.fail(job, JobError(code=code, detail=detail)):
            self.announce(job.id)

    def _send_unsent(self) -> None:
        try:
            if not self.broker.exists(bus.EPOCH):
                # Redis is new or lost its data, and with it every id it was handed. It is marked
                # last: who dies in between leaves it to the next.
                self.storage.jobs.forget_sent()
                self.broker.set(bus.EPOCH, "1")
        except redis.RedisError as error:
            log.warning("broker out of reach", reason=str(error))
            return
        self._send_all(self.storage.jobs.unsent(older_than_s=SEND_AFTER_S))

    def _send_all(self, jobs: Sequence[Job]) -> None:
        sent = []
        for job in jobs:
            try:
                self.send(job)
            except Unavailable as error:
                log.warning("jobs not sent yet", reason=error.detail)
                break
            sent.append(job.id)
        if sent:
            self.storage.jobs.mark_sent(sent)
            log.info("jobs sent", count=len(sent))
