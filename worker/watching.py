"""How a job's run is told: ids on every log line, numbers, and spans of its request's trace."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from darkroom.domain import Job
from darkroom.errors import EngineError
from darkroom.watch import failures, tracing
from darkroom.watch.meters import meters

log = structlog.get_logger(__name__)


@contextmanager
def attempt(job: Job) -> Iterator[None]:
    """Watch one attempt at a job, from its claim to its end."""
    batch_id = job.place.batch_id if job.place else None
    ids = {
        "job_id": job.id,
        "request_id": job.request_id,
        "user_id": job.owner_id,
        "batch_id": batch_id,
        "attempt": job.attempt,
        "engine": job.engine,
        "server": job.server,
        "worker": job.worker,
    }
    meters().job_started(job)
    if job.attempt == 1 and job.started_at is not None:
        tracing.past(
            "wait in queue",
            began_at=job.created_at,
            ended_at=job.started_at,
            parent=job.trace,
            job_id=job.id,
            lane=job.lane.name.lower(),
        )
    began = time.monotonic()
    with (
        structlog.contextvars.bound_contextvars(
            **{name: value for name, value in ids.items() if value is not None}
        ),
        tracing.span("attempt", kind="consumer", parent=job.trace, model=job.model, **ids),
        failures.reported(),
    ):
        log.info("job started", model=job.model)
        try:
            yield
        finally:
            meters().attempt_took(job.engine, time.monotonic() - began)


@contextmanager
def drawing(job: Job) -> Iterator[None]:
    """Watch an engine draw."""
    outcome = "stopped"
    began = time.monotonic()
    with tracing.span("draw", engine=job.engine, model=job.model, job_id=job.id) as span:
        try:
            yield
            outcome = "drawn"
        except EngineError as error:
            outcome = error.code
            raise
        finally:
            span.note(outcome=outcome, server=job.server)
            meters().engine_drew(job.engine, job.server or "", outcome, time.monotonic() - began)
