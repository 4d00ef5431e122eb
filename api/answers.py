"""From a job to an answer: pictures, a link to poll, or a problem."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import structlog
from flask import Response, current_app, json, request
from werkzeug.datastructures import Headers

from api.errors import problem_of_job
from api.money import cost_view
from api.preferences import Preferences, read_preferences
from api.schemas import ImageLinkSchema, JobSchema
from api.services import Services
from api.waiting import caller_is_gone
from darkroom.domain import Job, JobStatus, StoredImage
from darkroom.errors import Unavailable

log = structlog.get_logger(__name__)

# Made once, because making a schema takes longer than using it.
LINKS = ImageLinkSchema(many=True)
JOB = JobSchema()


def preferences(services: Services, *, usual_wait_s: float | None = None) -> Preferences:
    """How long the caller of this request prefers to wait, within what the server allows.

    Asked before anything is accepted. Callers who do not say wait `usual_wait_s`, or else as long
    as the server allows. Raises InvalidRequest.
    """
    return read_preferences(
        request.headers.get("Prefer", ""),
        longest_wait_s=services.settings.wait_s,
        usual_wait_s=usual_wait_s,
    )


def wait_and_answer(job: Job, wanted: Preferences, services: Services) -> Response:
    """Wait for the job as long as the caller prefers, then answer:

    200 with the pictures; 400 when it failed; 202 with the job and its `Location` when it goes
    on. A wait that ends never ends the job.
    """
    if not job.status.is_finished and wanted.wait_s > 0:
        job = awaited(job, wanted.wait_s, services)
    try:
        response = _answer(job, services)
    except Unavailable as error:
        log.warning("answer put off", job_id=job.id, reason=error.detail)
        response = _accepted(job, services)
    response.headers["Darkroom-Job"] = job.id
    if wanted.applied:
        response.headers["Preference-Applied"] = wanted.applied
    response.headers.extend(warning_headers(job.warnings))
    return response


def awaited(job: Job, wait_s: float, services: Services) -> Job:
    """The job after the wait, which ends at once when no place to wait in is free.

    As it was before when the database went away meanwhile: it is accepted, and that must be said.
    """
    try:
        with services.waiter.place() as is_free:
            if is_free:
                services.waiter.wait(
                    job.id, wait_s, is_gone=lambda: caller_is_gone(request.environ)
                )
        return services.storage.jobs.get(job.id)
    except Unavailable as error:
        log.warning("wait cut short", job_id=job.id, reason=error.detail)
        return job


def _answer(job: Job, services: Services) -> Response:
    if job.status is JobStatus.SUCCEEDED:
        images = services.storage.images.of_job(job.id)
        return _json(200, LINKS.dump([file_view(each) for each in images]))
    if job.status.is_finished:
        return problem_of_job(job, job_url(job))
    return _accepted(job, services)


def _accepted(job: Job, services: Services) -> Response:
    response = _json(202, JOB.dump(job_view(job, (), currency=services.settings.currency)))
    response.headers["Location"] = job_url(job)
    return response


def job_url(job: Job) -> str:
    return f"/api/v1/jobs/{job.id}"


def job_view(job: Job, images: Sequence[StoredImage], *, currency: str) -> dict[str, Any]:
    """A job as `JobSchema` shows it."""
    return {
        "id": job.id,
        "url": job_url(job),
        "status": job.status,
        "operation": job.request.operation,
        "engine": job.engine,
        "model": job.model,
        "prompt": job.request.prompt,
        "n": job.request.count,
        "size": str(job.request.size) if job.request.size else None,
        "seed": job.request.seed,
        "progress": job.progress,
        "attempt": job.attempt,
        "images": [file_view(each) for each in images],
        "warnings": job.warnings,
        "error": job.error,
        "usage": job.usage,
        "cost": cost_view(job, currency),
        "metadata": job.metadata,
        "lane": job.lane,
        "deadline": job.deadline,
        "retry_of": job.retry_of,
        "batch_id": job.place.batch_id if job.place else None,
        "custom_id": job.place.custom_id if job.place else None,
        "not_before": job.not_before,
        "revision": job.revision,
        "user_id": job.owner_id,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def file_view(image: StoredImage) -> dict[str, Any]:
    """An image as `FileSchema` and `ImageLinkSchema` show it."""
    return asdict(image) | {
        "url": f"/api/v1/files/{image.id}/content",
        "name": image.name,
        "user_id": image.owner_id,
    }


def _json(status: int, body: Any) -> Response:
    return current_app.response_class(
        json.dumps(body), status=status, content_type="application/json"
    )


def warning_headers(warnings: Iterable[str]) -> Headers:
    """One `Warning` header for each sentence."""
    return Headers([("Warning", _warning(each)) for each in warnings])


def _warning(text: str) -> str:
    """One value of a `Warning` header: miscellaneous, persistent, in ASCII."""
    quoted = text.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return f'299 darkroom "{quoted}"'
