"""From an order to an accepted job: replay, plan, limit, row, queue."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog
from flask import g, request

from api.auth import current_user
from api.inputs import EditInputs, read_inputs
from api.orders import Order
from api.planning import Planner
from api.quotas import quotas_of, refuse_unknown_price, reserve
from api.services import Services
from darkroom.domain import ImageRequest, Job, JobStatus, NewJob, User
from darkroom.errors import Conflict, InvalidRequest, Unavailable
from darkroom.quotas import queue_is_full
from darkroom.watch import tracing
from darkroom.watch.meters import meters
from storage.backlog import Next
from storage.contents import key_of
from storage.jobs import new_job_id

log = structlog.get_logger(__name__)

MAX_KEY_CHARS = 255

RETRYABLE = (JobStatus.FAILED, JobStatus.CANCELED)


def submit(order: Order, services: Services) -> Job:
    """Accept an order of the current user as a job, and hand it to the workers.

    An order that was accepted before, under the same idempotency key, is the same job, whatever
    has changed since. Raises Disabled, InvalidRequest, ModelNotAllowed, Misconfigured,
    IdempotencyConflict, LimitReached, QuotaExceeded or Unavailable; then nothing was accepted.
    """
    owner = current_user()
    earlier = _replayed(owner.id, order.digest(), services)
    if earlier is not None:
        return earlier
    new = _new_job(order, services)
    _refuse_full_queue(owner, services)
    # Only now: all that is cheap to refuse is refused before anything is fetched or decoded.
    inputs = read_inputs(order.image, new.request.mask, services)
    new = replace(new, request=with_files(new.request, inputs))
    job_id = new_job_id()
    if inputs.all:
        services.storage.inputs.keep(job_id, inputs.all)
    return _accept(new, job_id, owner, services)


def submit_again(job: Job, services: Services) -> Job:
    """Accept a failed or canceled job once more, as a new job of the same owner.

    Raises Conflict for other jobs, and else as `submit`.
    """
    if job.status not in RETRYABLE:
        raise Conflict(
            f"The job is {job.status}: only failed and canceled jobs can be retried. Send the"
            " request again to have it drawn anew."
        )
    request_hash = hashlib.sha256(f"retry of {job.id}".encode()).hexdigest()
    earlier = _replayed(job.owner_id, request_hash, services)
    if earlier is not None:
        return earlier
    owner = owner_of(job.owner_id, services)
    planner = Planner(services, owner.limits)
    planner.engines(job.request.operation).get(job.engine)
    planner.refuse_repeat(job.engine, job.model, job.request)
    _refuse_full_queue(owner, services)
    job_id = new_job_id()
    if not services.storage.inputs.share(job.request, job.id, job_id):
        raise Conflict(
            "The pictures this job worked on are not kept any more: send the request again."
        )
    return _accept(
        NewJob(
            estimated_cost=services.registry.price(job.engine, job.model).estimate(job.request),
            owner_id=job.owner_id,
            engine=job.engine,
            model=job.model,
            request=job.request,
            warnings=job.warnings,
            metadata=job.metadata,
            request_id=g.request_id,
            idempotency_key=idempotency_key(),
            request_hash=request_hash,
            lane=job.lane,
            retry_of=job.id,
        ),
        job_id,
        owner,
        services,
    )


def _replayed(owner_id: str, request_hash: str, services: Services) -> Job | None:
    key = idempotency_key()
    return services.storage.jobs.replayed(owner_id, key, request_hash) if key else None


def _new_job(order: Order, services: Services) -> NewJob:
    """The job of an order; its pictures and mask are still as the order gives them."""
    plan = Planner(services, current_user().limits).plan(order)
    return NewJob(
        owner_id=current_user().id,
        engine=plan.engine,
        model=plan.model,
        request=plan.request,
        warnings=plan.warnings,
        metadata=order.metadata,
        request_id=g.request_id,
        idempotency_key=idempotency_key(),
        request_hash=order.digest(),
        lane=order.lane,
        deadline=order.deadline,
        estimated_cost=plan.estimated_cost,
    )


def owner_of(owner_id: str, services: Services) -> User:
    """Whose limits hold when something of theirs is asked for again, perhaps by an admin."""
    return current_user() if current_user().id == owner_id else services.storage.users.get(owner_id)


def most_queued(owner: User, services: Services) -> int:
    """How many jobs somebody may have queued, and as many items of batches."""
    own = owner.limits.max_queued
    return services.settings.max_queued_per_user if own is None else own


def _refuse_full_queue(owner: User, services: Services) -> None:
    most = most_queued(owner, services)
    if not services.storage.backlog.has_room_for(owner.id, most=most):
        raise queue_is_full(most)


def _accept(new: NewJob, job_id: str, owner: User, services: Services) -> Job:
    quotas = quotas_of(new.owner_id, services)
    refuse_unknown_price(new.engine, new.model, new.estimated_cost, quotas, services)
    share = reserve(new.owner_id, quotas, images=new.request.count, cost=new.estimated_cost or 0)
    with tracing.span("submit", engine=new.engine, model=new.model) as span, share as reservation:
        new = replace(new, trace=tracing.carrier())
        taken: list[Next] = []
        take, room = services.storage.backlog.take_within, _room(new.engine, services)
        # In one transaction, because each waits for the disk.
        job, is_new = services.storage.jobs.submit(
            new,
            job_id=job_id,
            reservation=reservation,
            most_queued=owner.limits.max_queued,
            also=lambda connection: taken.extend(take(connection, **room)),
        )
        structlog.contextvars.bind_contextvars(job_id=job.id)
        span.note(job_id=job.id, user_id=job.owner_id, is_new=is_new)
        if is_new:
            _send(taken, services)
    return job


def send_next(engine: str, services: Services) -> None:
    """Hand an engine's next jobs to the workers, as far as there is room for them.

    When that does not work now, the workers' upkeep does it: what was accepted stays accepted.
    """
    try:
        taken = services.storage.backlog.take(engine, **_room(engine, services))
    except Unavailable as error:
        log.warning("nothing sent yet", engine=engine, reason=error.detail)
        return
    _send(taken, services)


def _room(engine: str, services: Services) -> dict[str, Any]:
    """What says how many jobs of an engine may be sent, as `Backlog` takes it."""
    return {
        "window": services.staff().window(engine),
        "running_limit": services.settings.max_running_per_user,
        "pool": services.pools().whole(engine),
    }


def _send(taken: Sequence[Next], services: Services) -> None:
    unsent = []
    for each in taken:
        if services.queue.send(each):
            meters().jobs_sent(each.engine, each.lane)
        else:
            unsent.append(each.id)
    if unsent:
        try:
            services.storage.backlog.put_back(unsent)
        except Unavailable as error:
            # The workers' upkeep finds out that nobody has them.
            log.warning("jobs not put back", count=len(unsent), reason=error.detail)


def with_files(request: ImageRequest, inputs: EditInputs) -> ImageRequest:
    """The request with the files of its pictures in the place of what the caller sent."""
    return replace(
        request,
        images=tuple(key_of(each.data) for each in inputs.images),
        mask=None if inputs.mask is None else key_of(inputs.mask.data),
    )


def idempotency_key() -> str | None:
    """The key this request repeats safely under, if it has one. Raises InvalidRequest."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARS):
        raise InvalidRequest(
            f"Idempotency-Key must have 1 to {MAX_KEY_CHARS} characters.", param="Idempotency-Key"
        )
    return key
