"""OpenAI's image and model routes, and Azure's names for the first two."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Response
from werkzeug.datastructures import Headers

from api.answers import warning_headers
from api.auth import permitted, signed_in
from api.documenting import (
    BYTES,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    OF_A_JOB,
    OF_A_PART,
    OF_CONTENT,
    RANGE,
    WARNING,
)
from api.downloads import download
from api.openai.answers import draw_and_answer
from api.openai.blueprints import DRAWING_FAILURES, EVENTS, OpenAIBlueprint
from api.openai.models import listed_models, model_called
from api.openai.schemas import (
    EDIT_FORM,
    VARIATION_FORM,
    Asked,
    DeploymentQuerySchema,
    EditsSchema,
    ImagesAnswerSchema,
    ImagesSchema,
    LinkQuerySchema,
    OpenAIModelSchema,
    OpenAIModelsSchema,
    VariationsSchema,
)
from api.openai.streaming import draw_and_stream
from api.rates import rated
from api.services import services
from darkroom.domain import GENERATE_IMAGES

dialect = OpenAIBlueprint("openai", __name__, description="OpenAI's dialect, for its SDK")
deployments = OpenAIBlueprint(
    "deployments", __name__, description="OpenAI's dialect, as Azure's clients call it"
)


@dialect.post("/images/generations")
@permitted(GENERATE_IMAGES)
@rated
@dialect.arguments(ImagesSchema)
@dialect.heeds(IDEMPOTENCY_KEY)
@dialect.response(200, ImagesAnswerSchema, headers=OF_A_JOB)
@dialect.alt_response(**EVENTS)
@dialect.problems(*DRAWING_FAILURES)
def generate(asked: Asked) -> Response:
    """Draw pictures from a prompt.

    Waits for them; with `stream`, shows them as they are drawn. When the wait ends first the answer
    is 504: the job goes on, and the same call, sent again, waits on for it.
    """
    return _draw(asked)


@dialect.post("/images/edits")
@permitted(GENERATE_IMAGES)
@rated
@dialect.arguments(EditsSchema)
@dialect.heeds(IDEMPOTENCY_KEY)
@dialect.response(200, ImagesAnswerSchema, headers=OF_A_JOB)
@dialect.alt_response(**EVENTS)
@dialect.problems(*DRAWING_FAILURES)
@dialect.doc(requestBody=EDIT_FORM)
def edit(asked: Asked) -> Response:
    """Change pictures by a prompt, sent as a form with files or as JSON that links to them."""
    return _draw(asked)


@dialect.post("/images/variations")
@permitted(GENERATE_IMAGES)
@rated
@dialect.arguments(VariationsSchema)
@dialect.heeds(IDEMPOTENCY_KEY)
@dialect.response(200, ImagesAnswerSchema, headers=OF_A_JOB)
@dialect.problems(*DRAWING_FAILURES)
@dialect.doc(requestBody=VARIATION_FORM)
def vary(asked: Asked) -> Response:
    """Draw another picture like this one: an edit with a prompt of its own."""
    return _draw(asked)


@dialect.get("/images/files/<image_id>")
@dialect.arguments(LinkQuerySchema, location="query")
@dialect.heeds(RANGE, IF_NONE_MATCH, IF_MATCH)
@dialect.response(200, BYTES, content_type="image/*", headers=OF_CONTENT)
@dialect.alt_response(
    206,
    schema=BYTES,
    description="The part that `Range` asked for.",
    content_type="image/*",
    headers=OF_A_PART,
)
@dialect.alt_response(304, description="The caller has it already (`If-None-Match`).")
@dialect.problems(400, 403, 404, 412, 416, 503)
def read_picture(query: Mapping[str, str], image_id: str) -> Response:
    """The picture behind a signed link."""
    found = services()
    found.links.check(image_id, **query)
    image = found.storage.images.get(image_id)
    file = found.storage.gallery.open(image)
    return download(file, image.content_type, tag=image.file_key, name=image.name)


@dialect.get("/models")
@signed_in
@dialect.response(200, OpenAIModelsSchema, headers=WARNING)
@dialect.problems(401, 503)
def read_models() -> tuple[dict[str, Any], Headers]:
    """The models of every engine, in one list, the default engine's first.

    An engine that does not answer is named in a `Warning` header, beside what is known of its
    models.
    """
    models, problems = listed_models(services())
    return {"object": "list", "data": models}, warning_headers(problems)


@dialect.get("/models/<path:model>")
@signed_in
@dialect.response(200, OpenAIModelSchema)
@dialect.problems(401, 404, 503)
def read_model(model: str) -> dict[str, Any]:
    """One model, called `engine/model` or by its own id."""
    return model_called(model, services())


@deployments.post("/<path:deployment>/images/generations")
@permitted(GENERATE_IMAGES)
@rated
@deployments.arguments(DeploymentQuerySchema, location="query")
@deployments.arguments(ImagesSchema)
@deployments.heeds(IDEMPOTENCY_KEY)
@deployments.response(200, ImagesAnswerSchema, headers=OF_A_JOB)
@deployments.alt_response(**EVENTS)
@deployments.problems(*DRAWING_FAILURES)
def generate_deployed(_: Mapping[str, Any], asked: Asked, deployment: str) -> Response:
    """Draw pictures with the model that the path names. `api-key` may hold the key."""
    return _draw(_with_model(asked, deployment))


@deployments.post("/<path:deployment>/images/edits")
@permitted(GENERATE_IMAGES)
@rated
@deployments.arguments(DeploymentQuerySchema, location="query")
@deployments.arguments(EditsSchema)
@deployments.heeds(IDEMPOTENCY_KEY)
@deployments.response(200, ImagesAnswerSchema, headers=OF_A_JOB)
@deployments.alt_response(**EVENTS)
@deployments.problems(*DRAWING_FAILURES)
@deployments.doc(requestBody=EDIT_FORM)
def edit_deployed(_: Mapping[str, Any], asked: Asked, deployment: str) -> Response:
    """Change pictures with the model that the path names. `api-key` may hold the key."""
    return _draw(_with_model(asked, deployment))


def _draw(asked: Asked) -> Response:
    if asked.is_streamed:
        return draw_and_stream(asked, services())
    return draw_and_answer(asked, services())


def _with_model(asked: Asked, model: str) -> Asked:
    return replace(asked, order=replace(asked.order, model=model))
