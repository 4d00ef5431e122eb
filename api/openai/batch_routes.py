"""OpenAI's batches: thousands of lines in a file, and files with what came of them."""

from typing import Any

import orjson
from flask import Response

from api.auth import accessible_owner, current_user, permitted, signed_in
from api.batches.submission import cancel_batch
from api.openai.batch_schemas import (
    BatchesQuerySchema,
    BatchListSchema,
    BatchObjectSchema,
    NewOpenAIBatchSchema,
)
from api.openai.batches import batch_list, batch_object, create
from api.openai.blueprints import OpenAIBlueprint
from api.openai.ids import BATCH, plain_id
from api.openai.repeats import answering
from api.rates import rated
from api.services import services
from darkroom.domain import GENERATE_IMAGES, OpenAIBatch

batches = OpenAIBlueprint("openai_batches", __name__, description="OpenAI's dialect: batches")


@batches.post("/")
@permitted(GENERATE_IMAGES)
@rated
@batches.arguments(NewOpenAIBatchSchema)
@batches.response(200, BatchObjectSchema)
@batches.problems(400, 401, 403, 413, 415, 422, 429, 503)
def create_batch(asked: dict[str, Any]) -> Response:
    """Run the lines of an uploaded file.

    All of them are looked at first. When any is wrong the batch has failed, and `errors` says why,
    line by line; then none of them runs.
    """
    made = create(asked, services())
    body = orjson.dumps(batch_object(made, services()))
    return Response(answering(made.id, [body], services()), content_type="application/json")


@batches.get("/")
@signed_in
@batches.arguments(BatchesQuerySchema, location="query")
@batches.response(200, BatchListSchema)
@batches.problems(400, 401, 404, 503)
def list_batches(query: dict[str, Any]) -> dict[str, Any]:
    """Own batches that came in this dialect, newest first."""
    return batch_list(current_user().id, query, services())


@batches.get("/<batch_id>")
@signed_in
@batches.response(200, BatchObjectSchema)
@batches.problems(401, 404, 503)
def read_batch(batch_id: str) -> dict[str, Any]:
    """One batch as it stands."""
    return batch_object(_batch(batch_id), services())


@batches.post("/<batch_id>/cancel")
@signed_in
@batches.response(200, BatchObjectSchema)
@batches.problems(401, 404, 503)
def cancel(batch_id: str) -> dict[str, Any]:
    """Cancel what has not begun, and ask the workers of the rest to stop.

    A batch that is over stays as it is.
    """
    asked = _batch(batch_id)
    if not asked.errors:
        cancel_batch(services().storage.batches.get(asked.id), services())
    return batch_object(asked, services())


def _batch(batch_id: str) -> OpenAIBatch:
    return services().storage.openai_batches.get(
        plain_id(BATCH, batch_id), owner_id=accessible_owner()
    )
