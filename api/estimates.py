"""When a job may start and be done: guesses from the latest jobs of its model."""

import time
from dataclasses import dataclass

from api.services import Services
from darkroom.domain import Job, JobStatus


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Unix times, in seconds; None where nobody knows."""

    start_at: float | None = None
    finish_at: float | None = None


def estimate(job: Job, position: int | None, services: Services) -> Estimate:
    """Guess for a job at that place in its engine's queue.

    Nothing is guessed before a job of the model succeeded, while its engine rests, or while no
    worker gives a sign of life. Raises Unavailable.
    """
    outlook = services.storage.outlook
    takes_s = outlook.typical_duration_s(job.engine, job.model)
    if takes_s is None:
        return Estimate()
    if job.status is JobStatus.RUNNING and job.started_at is not None:
        return Estimate(finish_at=max(time.time(), job.started_at + takes_s))
    pool = services.pools().of(job.engine, job.request.operation)
    well = pool.well(services.storage.health.resting())
    slots = services.staff().slots(job.engine)
    if all(each.limit is not None for each in well):
        slots = min(slots, sum(each.limit or 0 for each in well))
    if position is None or slots == 0:
        return Estimate()
    before = position - 1 + outlook.running(job.engine)
    start_at = time.time() + start_after_s(before, slots=slots, takes_s=takes_s)
    start_at = max(start_at, job.not_before or 0.0)
    return Estimate(start_at=start_at, finish_at=start_at + takes_s)


def start_after_s(before: int, *, slots: int, takes_s: float) -> float:
    """How long a job waits behind so many others, when `slots` of them run at once."""
    return before // slots * takes_s
