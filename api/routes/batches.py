"""Batches: thousands of requests handed over in one call."""

from typing import Any

from flask import Response, request

from api.auth import accessible_owner, permitted, signed_in, visible_owner
from api.batches.archive import archive_of
from api.batches.bodies import accept_body
from api.batches.results import NDJSON, results_of
from api.batches.schemas import (
    BatchQuerySchema,
    BatchSchema,
    LinesQuerySchema,
    NewBatchSchema,
    ResultsQuerySchema,
)
from api.batches.submission import cancel_batch, retry_batch
from api.batches.views import batch_url, batch_view, new_batch_view
from api.blueprints import Blueprint
from api.documenting import IDEMPOTENCY_KEY, LOCATION
from api.rates import rated
from api.services import services
from darkroom.domain import GENERATE_IMAGES, Batch

batches = Blueprint("batches", __name__, description="Thousands of requests in one call")

LINES_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": NewBatchSchema},
        NDJSON: {
            "schema": {"type": "string"},
            "example": '{"prompt": "a lighthouse"}\n{"prompt": "a harbour", "custom_id": "b"}\n',
        },
    },
}


@batches.post("/")
@permitted(GENERATE_IMAGES)
@rated
@batches.doc(requestBody=LINES_BODY)
@batches.arguments(LinesQuerySchema, location="query")
@batches.heeds(IDEMPOTENCY_KEY)
@batches.response(201, BatchSchema, headers=LOCATION)
@batches.problems(400, 401, 403, 413, 415, 422, 429, 503)
def create_batch(query: dict[str, str]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Hand over up to 50,000 requests, as JSON or as lines of JSON.

    Everything is looked at before anything runs: either all items are accepted, or every problem
    is listed with its line and none is. They wait in the batch lane. `Idempotency-Key` makes a
    repeated call safe.
    """
    return _created(accept_body(query, services()))


@batches.get("/")
@signed_in
@batches.arguments(BatchQuerySchema, location="query")
@batches.response(200, BatchSchema(many=True))
@batches.problems(400, 401, 403, 404, 503)
def list_batches(query: dict[str, Any]) -> list[dict[str, Any]]:
    """Own batches, newest first."""
    owner_id = visible_owner(everyone=query.pop("all"))
    found = services().storage.batches.list(owner_id=owner_id, **query)
    return [batch_view(each, services()) for each in found]


@batches.get("/<batch_id>")
@signed_in
@batches.response(200, BatchSchema)
@batches.problems(401, 404, 503)
def read_batch(batch_id: str) -> dict[str, Any]:
    """One batch as it stands."""
    return batch_view(_batch(batch_id), services())


@batches.get("/<batch_id>/results")
@signed_in
@batches.arguments(ResultsQuerySchema, location="query")
@batches.response(200, {"type": "string"}, content_type=NDJSON)
@batches.problems(400, 401, 404, 503)
def read_results(query: dict[str, bool], batch_id: str) -> Response:
    """What came of the items, one line of JSON each, in the order they ended.

    With `follow=true` the answer goes on as more of them end, until the batch is over; empty lines
    keep the connection alive.
    """
    return results_of(_batch(batch_id), services(), follow=query["follow"])


@batches.get("/<batch_id>/images.zip")
@signed_in
@batches.response(200, {"type": "string", "format": "binary"}, content_type="application/zip")
@batches.problems(401, 404, 503)
def read_archive(batch_id: str) -> Response:
    """All pictures there are by now as one ZIP, with `manifest.jsonl` that says what is what."""
    batch = _batch(batch_id)
    return Response(
        () if request.method == "HEAD" else archive_of(batch, services()),
        content_type="application/zip",
        headers={
            "Content-Disposition": f'attachment; filename="batch-{batch.id}.zip"',
            "X-Accel-Buffering": "no",
        },
    )


@batches.post("/<batch_id>/cancel")
@signed_in
@batches.response(200, BatchSchema)
@batches.problems(401, 404, 503)
def cancel(batch_id: str) -> dict[str, Any]:
    """Cancel what has not begun, and ask the workers of the rest to stop.

    A finished batch stays as it is.
    """
    cancel_batch(_batch(batch_id), services())
    return batch_view(_batch(batch_id), services())


@batches.post("/<batch_id>/retry")
@permitted(GENERATE_IMAGES)
@rated
@batches.heeds(IDEMPOTENCY_KEY)
@batches.response(201, BatchSchema, headers=LOCATION)
@batches.problems(400, 401, 403, 404, 409, 422, 429, 503)
def retry_failed(batch_id: str) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Ask for what failed or was canceled once more, as a new batch."""
    return _created(retry_batch(_batch(batch_id), services()))


def _created(batch: Batch) -> tuple[dict[str, Any], int, dict[str, str]]:
    return new_batch_view(batch, services()), 201, {"Location": batch_url(batch)}


def _batch(batch_id: str) -> Batch:
    return services().storage.batches.get(batch_id, owner_id=accessible_owner())
