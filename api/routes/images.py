"""Pictures on request: Open WebUI's images routes."""

from collections.abc import Mapping
from typing import Any

from flask import Response
from werkzeug.datastructures import Headers

from api.answers import preferences, wait_and_answer, warning_headers
from api.auth import admins_only, current_user, permitted, signed_in
from api.blueprints import Blueprint
from api.config_schemas import ConfigSchema, EngineCheckSchema, VerifySchema
from api.configuring import known_engine, shown_config, update_config
from api.documenting import IDEMPOTENCY_KEY, LOCATION, OF_A_WAIT, PREFER, WARNING
from api.listing import list_models
from api.money import estimate_view
from api.orders import Order
from api.planning import Planner
from api.rates import rated
from api.schemas import (
    EditSchema,
    EstimateOrderSchema,
    GenerationSchema,
    ImageLinkSchema,
    JobSchema,
    ModelQuerySchema,
    ModelSchema,
)
from api.services import services
from api.submission import submit
from api.usage_schemas import EstimateSchema
from darkroom.domain import GENERATE_IMAGES
from engines.checkup import check_engines

images = Blueprint("images", __name__, description="Pictures on request")


@images.post("/generations")
@permitted(GENERATE_IMAGES)
@rated
@images.arguments(GenerationSchema)
@images.heeds(PREFER, IDEMPOTENCY_KEY)
@images.response(200, ImageLinkSchema(many=True), headers=OF_A_WAIT)
@images.alt_response(
    202, schema=JobSchema, description="Accepted; poll its `url`.", headers=LOCATION | OF_A_WAIT
)
@images.problems(400, 401, 403, 413, 415, 422, 429, 503)
def generate(order: Order) -> Response:
    """Draw pictures from a prompt.

    Waits for them, then answers with their URLs. `Prefer: wait=N` shortens the wait,
    `Prefer: respond-async` skips it; a job that is not finished by then is answered with 202 and
    its `Location`. `Idempotency-Key` makes a repeated call safe.
    """
    wanted = preferences(services())
    return wait_and_answer(submit(order, services()), wanted, services())


@images.post("/estimate")
@permitted(GENERATE_IMAGES)
@images.arguments(EstimateOrderSchema)
@images.response(200, EstimateSchema)
@images.problems(400, 401, 403, 413, 415, 503)
def estimate(order: Order) -> dict[str, Any]:
    """What a prompt would be drawn with, and cost, without drawing it.

    With `image` it is about an edit. Its pictures are not read, only counted.
    """
    plan = Planner(services(), current_user().limits).plan(order)
    return {
        "engine": plan.engine,
        "model": plan.model,
        "n": plan.request.count,
        "size": str(plan.request.size) if plan.request.size else None,
        "quality": plan.request.quality,
        "warnings": plan.warnings,
        "cost": estimate_view(plan.estimated_cost, services().settings.currency),
    }


@images.post("/edit")
@permitted(GENERATE_IMAGES)
@rated
@images.arguments(EditSchema)
@images.heeds(PREFER, IDEMPOTENCY_KEY)
@images.response(200, ImageLinkSchema(many=True), headers=OF_A_WAIT)
@images.alt_response(
    202, schema=JobSchema, description="Accepted; poll its `url`.", headers=LOCATION | OF_A_WAIT
)
@images.problems(400, 401, 403, 413, 415, 422, 429, 503)
def edit(order: Order) -> Response:
    """Change pictures by a prompt.

    A mask says where: what is transparent in it is repainted, or what is white where nothing is
    transparent. Pictures and mask are sent along, named by the id or URL of an own file, or fetched
    from a public http or https URL. Waits and repeats as for generations.
    """
    wanted = preferences(services())
    return wait_and_answer(submit(order, services()), wanted, services())


@images.get("/models")
@signed_in
@images.arguments(ModelQuerySchema, location="query")
@images.response(200, ModelSchema(many=True), headers=WARNING)
@images.problems(400, 401, 503)
def read_models(query: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Headers]:
    """The models of the default engine, best first; `engine` names another one, or `all`.

    Engines are asked what they offer, unless they were asked within the last half minute. One that
    does not answer is named in a `Warning` header, beside what is known of its models.
    """
    models, problems = list_models(query.get("engine"), services(), current_user().limits)
    return models, warning_headers(problems)


@images.get("/config")
@admins_only
@images.response(200, ConfigSchema)
@images.problems(401, 403, 503)
def read_config() -> Mapping[str, Any]:
    """The configuration; keys are masked."""
    return shown_config(services())


@images.post("/config/update")
@admins_only
@images.arguments(ConfigSchema, required=False)
@images.response(200, ConfigSchema)
@images.problems(400, 401, 403, 413, 415, 503)
def change_config(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Change what is given and keep the rest; a mask sent back keeps its key."""
    update_config(changes, services())
    return shown_config(services())


@images.post("/verify")
@admins_only
@images.arguments(VerifySchema, required=False)
@images.response(200, EngineCheckSchema(many=True))
@images.problems(400, 401, 403, 413, 415, 503)
def verify(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ask one engine, or all enabled ones, whether they can be used."""
    name, found = asked.get("engine"), services()
    return [
        {
            "engine": each.engine,
            "server": each.server,
            "operations": each.operations,
            "configuration": each.configuration,
            "ok": each.is_usable,
            "detail": each.detail,
        }
        for each in check_engines(
            found.registry, found.config(), None if name is None else known_engine(name, found)
        )
    ]
