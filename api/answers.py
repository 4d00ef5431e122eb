"""From a job to an answer: pictures, a link to poll, or a problem."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flask import Response, current_app, json, request

from api.errors import problem_of_job
from api.preferences import read_preferences
from api.schemas import ImageLinkSchema, JobSchema
from api.services import Services
from api.waiting import caller_is_gone
from darkroom.domain import Job, JobStatus, StoredImage


def wait_and_answer(job: Job, services: Services) -> Response:
    """Wait for the job as long as the caller prefers and the server allows, then answer:

    200 with the pictures; 400 when it failed; 202 with the job and its `Location` when it goes
    on. A wait that ends never ends the job.
    """
    preferences = read_preferences(
        request.headers.get("Prefer", ""), longest_wait_s=services.settings.wait_s
    )
    if not job.status.is_finished and preferences.wait_s > 0:
        with services.waiter.place() as is_free:
            if is_free:
                services.waiter.wait(
                    job.id, preferences.wait_s, is_gone=lambda: caller_is_gone(request.environ)
                )
        job = services.storage.jobs.get(job.id)
    response = _answer(job, services)
    response.headers["Darkroom-Job"] = job.id
    if preferences.applied:
        response.headers["Preference-Applied"] = preferences.applied
    for warning in job.warnings:
        response.headers.add("Warning", _warning(warning))
    return response


def _answer(job: Job, services: Services) -> Response:
    if job.status is JobStatus.SUCCEEDED:
        images = services.storage.images.of_job(job.id)
        return _json(200, ImageLinkSchema(many=True).dump([file_view(each) for each in images]))
    if job.status.is_finished:
        return problem_of_job(job, job_url(job))
    response = _json(202, JobSchema().dump(job_view(job, ())))
    response.headers["Location"] = job_url(job)
    return response


def job_url(job: Job) -> str:
    return f"/api/v1/jobs/{job.id}"


def job_view(job: Job, images: Sequence[StoredImage]) -> dict[str, Any]:
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
        "metadata": job.metadata,
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


def _warning(text: str) -> str:
    """One value of a `Warning` header: miscellaneous, persistent, in ASCII."""
    quoted = text.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return f'299 darkroom "{quoted}"'
