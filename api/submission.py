"""From an order to an accepted job: defaults, model, fit, row, queue."""

from flask import g, request

from api.auth import current_user
from api.orders import AUTO, Order
from api.services import Services
from darkroom.configuration import Purpose
from darkroom.domain import ImageRequest, Job, Model, NewJob, Operation, Size
from darkroom.errors import Disabled, InvalidRequest, UnknownModel
from engines.fitting import fit

MAX_KEY_CHARS = 255


def submit(order: Order, services: Services) -> Job:
    """Accept an order of the current user as a job, and hand it to the workers.

    Raises Disabled, InvalidRequest, Misconfigured, IdempotencyConflict or Unavailable; then
    nothing was accepted.
    """
    engines = services.engines(order.operation)
    _refuse_disabled(engines.purpose, order.operation)
    _refuse_too_many(order.n, services.settings.max_count)
    if order.operation is Operation.EDIT and not engines.models():
        raise UnknownModel(
            "No enabled engine can edit pictures: ask an admin to configure one that can.",
            param="model",
        )
    engine, model = engines.resolve(order.model, order.engine)
    fitted = fit(_request(order, engines.purpose, model), model, strict=order.strict)
    job, is_new = services.storage.jobs.submit(
        NewJob(
            owner_id=current_user().id,
            engine=engine,
            model=model.id,
            request=fitted.request,
            warnings=fitted.warnings,
            metadata=order.metadata,
            request_id=g.request_id,
            idempotency_key=_idempotency_key(),
            request_hash=order.digest(),
        )
    )
    if is_new and services.queue.send(job):
        services.storage.jobs.mark_sent([job.id])
    return job


def _refuse_disabled(purpose: Purpose, operation: Operation) -> None:
    if not purpose.enabled:
        what = "Image generation" if operation is Operation.GENERATE else "Image editing"
        raise Disabled(f"{what} is switched off on this server: ask an admin.")


def _refuse_too_many(count: int, most: int) -> None:
    if count > most:
        raise InvalidRequest(
            f"n: It must be from 1 to {most}; ask for more in several requests.", param="n"
        )


def _request(order: Order, purpose: Purpose, model: Model) -> ImageRequest:
    size = order.size or purpose.size or AUTO
    # A default that this model cannot use is none; only what the caller asked for is warned about.
    steps = order.steps or (purpose.steps if model.capabilities.max_steps else None)
    return ImageRequest(
        prompt=order.prompt,
        operation=order.operation,
        count=order.n,
        size=None if size == AUTO else Size.parse(size),
        steps=steps,
        negative_prompt=order.negative_prompt,
        seed=order.seed,
        quality=order.quality,
        output_format=order.output_format,
        background=order.background,
    )


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARS):
        raise InvalidRequest(
            f"Idempotency-Key must have 1 to {MAX_KEY_CHARS} characters.", param="Idempotency-Key"
        )
    return key
