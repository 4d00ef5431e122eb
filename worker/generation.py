"""How one job is run: claim it, have its engine draw, keep the pictures, finish.

The whole story, without Celery. Whatever happens on the way, the job either ends in one state
through the attempt that owns it, or its lease runs out and another worker takes it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Self, TypeVar

import structlog

from darkroom.domain import GeneratedImage, Job, Usage
from darkroom.errors import (
    Canceled,
    DeadlineExceeded,
    EngineError,
    EngineFailed,
    LeaseLost,
    Unavailable,
    WorkerStops,
)
from darkroom.pools import PoolOf, health_key, single
from darkroom.watch import tracing
from darkroom.watch.meters import meters
from engines.base import Engine, Task
from engines.prices import Price
from storage import Storage
from worker import watching
from worker.aftermath import Aftermath, recorded
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
    #: Tells whoever waits that a job is finished, or whoever follows it that it changed.
    announce: Callable[[str], None]
    announce_change: Callable[[str], None]
    #: Decides what becomes of a job without pictures.
    aftermath: Aftermath
    #: Hands the next jobs of an engine to the queue, now that a slot falls free.
    top_up: Callable[[str], None]
    #: The servers that jobs can go to at this moment. Raises Unavailable.
    pools: Callable[[], PoolOf] = lambda: single
    #: What a model of an engine costs.
    price: Callable[[str, str], Price] = lambda engine, model: Price()
    #: Longest one attempt may take, in seconds.
    timeout_s: float
    #: Waits; returns early, with True, when the process stops.
    pause: Callable[[float], bool]


def run_job(job_id: str, studio: Studio) -> None:
    """Run a queued job to its end. A job that is not queued (any more) is left alone.

    Raises Unavailable when the database stays away, so that the job could not even be claimed:
    its id must then go back to the queue.
    """
    with studio.leases.claiming(job_id, pools=studio.pools) as claim:
        job = _insist(claim, studio)
        if job is not None:
            _run(job, studio)
            return
    # Somebody else's, or finished; or it must not run now, and then it waits again.
    log.info("job not to be had", job_id=job_id)
    studio.storage.backlog.put_back([job_id])


def _run(job: Job, studio: Studio) -> None:
    engines = {job.engine}
    studio.announce_change(job.id)
    with (
        watching.attempt(job),
        studio.leases.holding(job) as lease,
        _Reporter(job, lease, studio) as reporter,
        _always_ended(job, studio) as end,
    ):
        try:
            lease.check()
            pictures = _draw(job, reporter, studio)
            end(lambda: _keep(job, pictures, studio))
        except EngineError as error:
            reason = error
            log.warning("attempt failed", code=error.code, reason=error.detail)
            end(lambda: studio.aftermath.failed(job, reason))
            engines.add(_engine_now(job, studio))
        except Canceled:
            end(lambda: studio.storage.attempts.cancel_held(job))
        except LeaseLost as lost:
            log.warning("job lost", reason=lost.detail)
            end(lambda: False)
        except WorkerStops:
            end(lambda: studio.aftermath.not_begun(job))
    for engine in engines:
        studio.top_up(engine)


def _engine_now(job: Job, studio: Studio) -> str:
    """The engine the job is for by now: another one, when that is to draw it instead."""
    try:
        return studio.storage.jobs.get(job.id).engine
    except Unavailable as error:
        log.warning("engine not looked up", job_id=job.id, reason=error.detail)
        return job.engine


def _draw(job: Job, reporter: "_Reporter", studio: Studio) -> list[GeneratedImage]:
    engine = _insist(lambda: studio.engine_for(job), studio)
    images, mask = _insist(lambda: studio.storage.inputs.load(job.request), studio)
    reporter.check()
    left_s = studio.timeout_s if job.deadline is None else job.deadline - time.time()
    task = Task(
        job_id=job.id,
        model=job.model,
        request=job.request,
        images=images,
        mask=mask,
        timeout_s=min(studio.timeout_s, left_s),
        attempt=job.attempt,
        upstream_id=job.upstream_id if engine.resumes else None,
    )
    with watching.drawing(job):
        return engine.generate(task, reporter)


def _keep(job: Job, pictures: Sequence[GeneratedImage], studio: Studio) -> bool:
    """Store the pictures and finish the job; False when the job is not ours any more."""
    wanted = job.request.count
    if not pictures:
        raise EngineFailed(f"Engine '{job.engine}' answered without a picture.")
    warnings = list(job.warnings)
    if len(pictures) < wanted:
        warnings.append(f"n: {wanted} pictures were asked for, the engine made {len(pictures)}.")
    usage = _usage_of(pictures)
    with tracing.span("store", job_id=job.id):
        kept = studio.storage.gallery.keep(job, pictures[:wanted])
        finished = studio.storage.attempts.succeed(
            job,
            kept,
            warnings=warnings,
            usage=usage,
            # What came beyond what was asked for is not kept, but it was paid for.
            cost=studio.price(job.engine, job.model).settle(job.request, len(pictures), usage),
        )
    if not finished:
        studio.storage.gallery.release(job, kept)
        return False
    meters().job_succeeded(job, [len(each.data) for each in pictures[:wanted]])
    if studio.storage.health.note_success(health_key(job.engine, job.server)):
        log.info("engine works again")
    return finished


def _usage_of(pictures: Sequence[GeneratedImage]) -> Usage | None:
    """What all calls took together, as far as the engine told."""
    told = [each.usage for each in pictures if each.usage is not None]
    return reduce(add, told) if told else None


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
            studio.leases.forsake(job)
            finished = False
        ended = True
        if finished:
            with tracing.span("wake up", job_id=job.id):
                studio.announce(job.id)
            log.info("job ended")
        else:
            studio.announce_change(job.id)

    try:
        yield end
    finally:
        if not ended:
            broken = EngineFailed(
                f"Engine '{job.engine}' broke while it was drawing; the worker's log says how."
            )
            end(lambda: studio.storage.attempts.fail(job, recorded(broken)))


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
        self._studio = studio
        #: Kept until it is noted: a run that nobody can find again may have to be paid twice.
        self._upstream_id: str | None = None
        self._has_preview = False
        self._next_write = time.monotonic() + REPORT_EVERY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the preview: the job has its pictures now, or none."""
        if self._has_preview:
            try:
                self._studio.storage.gallery.drop_preview(self._job.id)
            except Unavailable as error:
                log.warning("preview not dropped", reason=error.detail)

    def __call__(
        self,
        share: float | None = None,
        *,
        preview: bytes | None = None,
        upstream_id: str | None = None,
    ) -> None:
        self.check()
        now = time.monotonic()
        self._upstream_id = upstream_id or self._upstream_id
        if upstream_id is None and preview is None and now < self._next_write:
            return
        self._next_write = now + REPORT_EVERY_S
        storage = self._studio.storage
        try:
            if preview is not None:
                self._has_preview = True
                storage.gallery.keep_preview(self._job.id, preview)
            storage.attempts.note(self._job, progress=share, upstream_id=self._upstream_id)
            self._upstream_id = None
        except Unavailable as error:
            # Losing a progress note is no reason to lose the picture.
            log.warning("progress not noted", reason=error.detail)
        self._studio.announce_change(self._job.id)

    def check(self) -> None:
        """Raises Canceled, LeaseLost or DeadlineExceeded once the work must stop."""
        self._lease.check()
        if self._job.deadline is not None and time.time() > self._job.deadline:
            raise DeadlineExceeded("The job was not finished at its deadline.")
