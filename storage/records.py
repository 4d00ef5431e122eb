"""How a job is written as a row, and read back."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row

from darkroom.domain import ImageRequest, Job, JobError, JobStatus, Lane, Operation, Size


def request_to_json(request: ImageRequest) -> dict[str, Any]:
    return {**asdict(request), "size": str(request.size) if request.size else None}


def _request_from_json(data: Mapping[str, Any]) -> ImageRequest:
    return ImageRequest(
        **{
            **data,
            "operation": Operation(data["operation"]),
            "size": Size.parse(data["size"]) if data["size"] else None,
            "images": tuple(data.get("images", ())),
        }
    )


def job_of(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        owner_id=row.owner_id,
        status=JobStatus(row.status),
        engine=row.engine,
        model=row.model,
        request=_request_from_json(row.request),
        warnings=tuple(row.warnings),
        metadata=row.metadata,
        attempt=row.attempt,
        worker=row.worker,
        lease_until=row.lease_until,
        upstream_id=row.upstream_id,
        progress=float(row.progress),
        error=JobError(**row.error) if row.error else None,
        request_id=row.request_id,
        idempotency_key=row.idempotency_key,
        request_hash=row.request_hash,
        lane=Lane(row.lane),
        deadline=row.deadline,
        retry_of=row.retry_of,
        revision=row.revision,
        not_before=row.not_before,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
