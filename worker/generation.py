"""How one job is run: claim it, have its engine draw, keep the pictures, finish.

The whole story, without Celery. Whatever happens on the way, the job either ends in one state
through the attempt that owns it, or its lease runs out and another worker takes it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from darkroom.domain import GeneratedImage, Job, JobError
from darkroom.errors import Canceled, EngineError, EngineFailed, LeaseLost, Unavailable
from engines.base import Engine, Task
from storage import Storage
from worker.leases import Lease, Leases

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Least time between two progress writes of one job, in seconds.
REPORT_EVERY_S = 1.0

#: How long a job waits for a database or file store that is away, and how often it is tried, in
#: seconds. Giving up would throw away what was drawn, and perhaps paid for.
KEEP_TRYING_S = 600.0
TRY_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What running a job takes."""

    storage: Storage
    leases: Leases
    #: Builds the engine a job names, with the configuration of this moment.
    engine_for: Callable[[Job], Engine]
    #: Tells whoever waits that a job is finished.
    announce: Callable[[str], None]
    #: Longest one attempt may take, in seconds.
    timeout_s: float
    #: Waits; returns early, with True, when the process stops.
    pause: Callable[[float], bool]


def run_job(job_id: str, studio: Studio) -> None:
    """Run a queued job to its end. A job that is not queued (any more) is left alone.

    Raises Unavailable when the database stays away, so that the job could not even be claimed:
    its id must then go back to the queue.
    """
    leases = studio.leases
    claim = partial(studio.storage.jobs.claim, job_id, worker=leases.worker, lease_s=leases.lease_s)
    job = _insist(claim, studio)
    if job is None:
        log.info("job not to be had", job_id=job_id)
        return
    with _logged(job), leases.holding(job) as lease, _always_ended(job, studio) as end:
        try:
            pictures = _draw(job, lease, studio)
            end(lambda: _keep(job, pictures, studio))
        except EngineError as error:
            reason = error
            log.warning("job failed", code=error.code, reason=error.detail)
            end(lambda: studio.storage.jobs.fail(job, _recorded(reason)))
        except Canceled:
            end(lambda: studio.storage.jobs.cancel_held(job))
        except LeaseLost as lost:
            log.warning("job lost to another worker", reason=lost.detail)
            end(lambda: False)


def _draw(job: Job, lease: Lease, studio: Studio) -> list[GeneratedImage]:
    engine = _insist(lambda: studio.engine_for(job), studio)
    return engine.generate(
        Task(
            job_id=job.id,
            model=job.model,
            request=job.request,
            timeout_s=studio.timeout_s,
            attempt=job.attempt,
        ),
        _Reporter(job, lease, studio),
    )


def _keep(job: Job, pictures: Sequence[GeneratedImage], studio: Studio) -> bool:
    """Store the pictures and finish the job; False when the job is not ours any more."""
    wanted = job.request.count
    if not pictures:
        raise EngineFailed(f"Engine '{job.engine}' answered without a picture.")
    warnings = list(job.warnings)
    if len(pictures) < wanted:
        warnings.append(f"n: {wanted} pictures were asked for, the engine made {len(pictures)}.")
    kept = studio.storage.gallery.keep(job, pictures[:wanted])
    finished = studio.storage.jobs.succeed(job, kept, warnings=warnings)
    if not finished:
        studio.storage.gallery.release(job, kept)
    return finished


@contextmanager
def _always_ended(job: Job, studio: Studio) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Yields `end(write)`, which writes the end of the job and tells whoever waits.

    A driver that breaks with an error of no known kind ends the job too, as failed; the error
    goes on to the log.
    """
    ended = False

    def end(write: Callable[[], bool]) -> None:
        nonlocal ended
        try:
            finished = _insist(write, studio)
        except Unavailable:
            # The job keeps its lease until that runs out.
            log.exception("result lost")
            finished = False
        ended = True
        if finished:
            studio.announce(job.id)
            log.info("job ended")

    try:
        yield end
    finally:
        if not ended:
            broken = EngineFailed(
                f"Engine '{job.engine}' broke while it was drawing; the worker's log says how."
            )
            end(lambda: studio.storage.jobs.fail(job, _recorded(broken)))


def _insist(step: Callable[[], T], studio: Studio) -> T:
    """Repeat a step while the database or the file store is away.

    Raises Unavailable when that takes too long, or the process stops.
    """
    give_up_at = time.monotonic() + KEEP_TRYING_S
    while True:
        try:
            return step()
        except Unavailable as error:
            log.warning("waiting for storage", reason=error.detail)
            if time.monotonic() > give_up_at or studio.pause(TRY_EVERY_S):
                raise


class _Reporter:
    """The engine's way to tell how far it is: `darkroom.domain.Progress`."""

    def __init__(self, job: Job, lease: Lease, studio: Studio) -> None:
        self._job = job
        self._lease = lease
        self._jobs = studio.storage.jobs
        self._next_write = time.monotonic() + REPORT_EVERY_S

    def __call__(self, share: float | None = None, *, upstream_id: str | None = None) -> None:
        self._lease.check()
        now = time.monotonic()
        if upstream_id is None and now < self._next_write:
            return
        self._next_write = now + REPORT_EVERY_S
        try:
            self._jobs.note(self._job, progress=share, upstream_id=upstream_id)
        except Unavailable as error:
            # Losing a progress note is no reason to lose the picture.
            log.warning("progress not noted", reason=error.detail)


@contextmanager
def _logged(job: Job) -> Iterator[None]:
    """Put the job's ids on every log line of its run."""
    with structlog.contextvars.bound_contextvars(
        job_id=job.id, request_id=job.request_id, attempt=job.attempt, engine=job.engine
    ):
        log.info("job started", model=job.model)
        yield


def _recorded(error: EngineError) -> JobError:
    return JobError(
        code=error.code,
        detail=error.detail,
        retryable=error.retryable,
        param=error.param,
        upstream_status=error.upstream_status,
    )
