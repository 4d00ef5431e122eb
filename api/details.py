"""A job in full: what was tried so far, and what is to be expected."""

import time
from collections.abc import Sequence
from typing import Any

from api.answers import job_url, job_view
from api.estimates import Estimate, estimate
from api.services import Services
from darkroom.domain import Attempt, Job, JobStatus
from darkroom.errors import Unavailable

#: States in which a worker draws, and may show how far it is.
DRAWING = (JobStatus.RUNNING, JobStatus.CANCELING)


def job_detail(job: Job, services: Services, *, to_admin: bool) -> dict[str, Any]:
    """A job as `JobDetailSchema` shows it. Only admins are told which worker had it.

    Raises Unavailable.
    """
    storage = services.storage
    attempts = storage.attempts.of_job(job.id)
    position = storage.outlook.position(job) if job.status is JobStatus.QUEUED else None
    is_open = not job.status.is_finished
    expected = estimate(job, position, services) if is_open else Estimate()
    return {
        **job_view(job, storage.images.of_job(job.id)),
        **_timings(job, attempts),
        "attempts": [_attempt_view(each, to_admin=to_admin) for each in attempts],
        "queue_position": position,
        "estimated_start_at": expected.start_at,
        "estimated_finish_at": expected.finish_at,
        "preview_url": f"{job_url(job)}/preview" if _has_preview(job, services) else None,
    }


def _timings(job: Job, attempts: Sequence[Attempt]) -> dict[str, float]:
    until = job.finished_at or time.time()
    ran_s = sum(max(0.0, (each.ended_at or until) - each.started_at) for each in attempts)
    return {
        "waited_s": round(max(0.0, until - job.created_at - ran_s), 3),
        "ran_s": round(ran_s, 3),
    }


def _attempt_view(attempt: Attempt, *, to_admin: bool) -> dict[str, Any]:
    # The words may name the worker, and with it a machine.
    detail = attempt.detail
    if detail is not None and not to_admin:
        detail = detail.replace(attempt.worker, "The worker")
    view = {
        "number": attempt.number,
        "engine": attempt.engine,
        "model": attempt.model,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "outcome": attempt.outcome,
        "detail": detail,
    }
    hidden = {"worker": attempt.worker, "server": attempt.server}
    return view | hidden if to_admin else view


def _has_preview(job: Job, services: Services) -> bool:
    if job.status not in DRAWING:
        return False
    try:
        return services.storage.gallery.has_preview(job.id)
    except Unavailable:
        # A store that is away hides the preview, not the job.
        return False
