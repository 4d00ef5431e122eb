"""Jobs: what became of each request, and what can still be done about it."""

from typing import Any

from flask import Response

from api.answers import job_view, preferences, wait_and_answer
from api.auth import accessible_owner, current_user, permitted, signed_in, visible_owner
from api.blueprints import Blueprint
from api.details import job_detail
from api.documenting import IDEMPOTENCY_KEY, LAST_EVENT_ID, LOCATION, OF_A_WAIT, PREFER
from api.events import events_of
from api.previews import preview_of
from api.rates import rated
from api.schemas import ImageLinkSchema, JobDetailSchema, JobQuerySchema, JobSchema
from api.services import services
from api.submission import submit_again
from darkroom.domain import GENERATE_IMAGES, Job

#: One event of a job. OpenAPI 3.1 has no other way to describe a stream than by what it repeats.
EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "The job's `revision`."},
        "event": {"const": "job"},
        "data": {"type": "string", "description": "The whole job as JSON, as `GET` answers it."},
    },
}

jobs = Blueprint("jobs", __name__, description="What became of each request")


@jobs.get("/")
@signed_in
@jobs.arguments(JobQuerySchema, location="query")
@jobs.response(200, JobSchema(many=True))
@jobs.problems(400, 401, 403, 404, 503)
def list_jobs(query: dict[str, Any]) -> list[dict[str, Any]]:
    """Own jobs, newest first."""
    owner_id = visible_owner(everyone=query.pop("all"))
    batch_id = query.pop("batch", None)
    found = services().storage.jobs.list(owner_id=owner_id, batch_id=batch_id, **query)
    images = services().storage.images.of_jobs([each.id for each in found])
    return [job_view(each, images[each.id]) for each in found]


@jobs.get("/<job_id>")
@signed_in
@jobs.response(200, JobDetailSchema)
@jobs.problems(401, 404, 503)
def read_job(job_id: str) -> dict[str, Any]:
    """One job as it stands, with its attempts and what is to be expected."""
    return _detail(_job(job_id))


@jobs.get("/<job_id>/events")
@signed_in
@jobs.heeds(LAST_EVENT_ID)
@jobs.response(200, EVENT, content_type="text/event-stream")
@jobs.alt_response(204, description="The job is finished, and `Last-Event-ID` is its last event.")
@jobs.problems(401, 404, 503)
def follow_job(job_id: str) -> Response:
    """One job as server-sent events: a snapshot at once and after every change, until its end.

    `Last-Event-ID` skips the first snapshot when nothing has changed since.
    """
    return events_of(job_id, services())


@jobs.get("/<job_id>/preview")
@signed_in
@jobs.response(200, {"type": "string", "format": "binary"}, content_type="image/*")
@jobs.problems(401, 404, 503)
def read_preview(job_id: str) -> Response:
    """The picture of a running job as far as it is drawn, where its engine shows that."""
    return preview_of(_job(job_id), services())


@jobs.post("/<job_id>/cancel")
@signed_in
@jobs.response(200, JobDetailSchema)
@jobs.problems(401, 404, 503)
def cancel_job(job_id: str) -> dict[str, Any]:
    """Cancel a queued job at once, or ask the worker of a running one to stop.

    A finished job stays as it is.
    """
    job = services().storage.jobs.request_cancel(_job(job_id).id)
    services().announce(job)
    return _detail(job)


@jobs.post("/<job_id>/retry")
@permitted(GENERATE_IMAGES)
@rated
@jobs.heeds(PREFER, IDEMPOTENCY_KEY)
@jobs.response(200, ImageLinkSchema(many=True), headers=OF_A_WAIT)
@jobs.alt_response(
    202, schema=JobSchema, description="Accepted; poll its `url`.", headers=LOCATION | OF_A_WAIT
)
@jobs.problems(400, 401, 403, 404, 409, 422, 429, 503)
def retry_job(job_id: str) -> Response:
    """Ask for the pictures of a failed or canceled job once more, as a new job.

    Answers 202 with the new job and its `Location`; with `Prefer: wait=N` it waits for the
    pictures.
    """
    wanted = preferences(services(), usual_wait_s=0)
    return wait_and_answer(submit_again(_job(job_id), services()), wanted, services())


def _job(job_id: str) -> Job:
    return services().storage.jobs.get(job_id, owner_id=accessible_owner())


def _detail(job: Job) -> dict[str, Any]:
    return job_detail(job, services(), to_admin=current_user().is_admin)
