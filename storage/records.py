"""How a job is written as a row, and read back."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row

from darkroom.domain import (
    BatchPlace,
    ImageRequest,
    Job,
    JobError,
    JobStatus,
    Lane,
    NewJob,
    Operation,
    Size,
    Usage,
)


def request_to_json(request: ImageRequest) -> dict[str, Any]:
    return {**asdict(request), "size": str(request.size) if request.size else None}


def request_from_json(data: Mapping[str, Any]) -> ImageRequest:
    return ImageRequest(
        **{
            **data,
            "operation": Operation(data["operation"]),
            "size": Size.parse(data["size"]) if data["size"] else None,
            "images": tuple(data.get("images", ())),
        }
    )


def new_row(new: NewJob, job_id: str) -> dict[str, Any]:
    """The columns of a job that is accepted now, but for its `created_at`."""
    place = new.place
    return {
        "id": job_id,
        "owner_id": new.owner_id,
        "status": JobStatus.QUEUED,
        "engine": new.engine,
        "model": new.model,
        "request": request_to_json(new.request),
        "warnings": list(new.warnings),
        "metadata": dict(new.metadata),
        "attempt": 0,
        "progress": 0.0,
        "request_id": new.request_id,
        "idempotency_key": new.idempotency_key,
        "request_hash": new.request_hash,
        "lane": new.lane,
        "deadline": new.deadline,
        "retry_of": new.retry_of,
        "trace": new.trace,
        "batch_id": place.batch_id if place else None,
        "batch_position": place.position if place else None,
        "batch_line": place.line if place else None,
        "custom_id": place.custom_id if place else None,
    }


def job_of(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        owner_id=row.owner_id,
        status=JobStatus(row.status),
        engine=row.engine,
        model=row.model,
        request=request_from_json(row.request),
        warnings=tuple(row.warnings),
        metadata=row.metadata,
        attempt=row.attempt,
        worker=row.worker,
        lease_until=row.lease_until,
        upstream_id=row.upstream_id,
        server=row.server,
        avoided=tuple(row.avoided or ()),
        progress=float(row.progress),
        error=JobError(**row.error) if row.error else None,
        usage=Usage(**row.usage) if row.usage else None,
        request_id=row.request_id,
        idempotency_key=row.idempotency_key,
        request_hash=row.request_hash,
        lane=Lane(row.lane),
        deadline=row.deadline,
        retry_of=row.retry_of,
        place=_place_of(row),
        trace=row.trace,
        revision=row.revision,
        not_before=row.not_before,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _place_of(row: Row[Any]) -> BatchPlace | None:
    if row.batch_id is None:
        return None
    return BatchPlace(
        batch_id=row.batch_id,
        position=row.batch_position,
        line=row.batch_line,
        custom_id=row.custom_id,
    )
