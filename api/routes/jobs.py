"""Jobs: what became of each request."""

from typing import Any

from api.answers import job_view
from api.auth import accessible_owner, signed_in, visible_owner
from api.blueprints import Blueprint
from api.schemas import JobQuerySchema, JobSchema
from api.services import services
from darkroom.domain import Job

jobs = Blueprint("jobs", __name__, description="What became of each request")


@jobs.get("/")
@signed_in
@jobs.arguments(JobQuerySchema, location="query")
@jobs.response(200, JobSchema(many=True))
@jobs.problems(400, 401, 403, 404, 503)
def list_jobs(query: dict[str, Any]) -> list[dict[str, Any]]:
    """Own jobs, newest first."""
    owner_id = visible_owner(everyone=query.pop("all"))
    return [_view(each) for each in services().storage.jobs.list(owner_id=owner_id, **query)]


@jobs.get("/<job_id>")
@signed_in
@jobs.response(200, JobSchema)
@jobs.problems(401, 404, 503)
def read_job(job_id: str) -> dict[str, Any]:
    """One job, as it stands."""
    return _view(services().storage.jobs.get(job_id, owner_id=accessible_owner()))


def _view(job: Job) -> dict[str, Any]:
    return job_view(job, services().storage.images.of_job(job.id))
