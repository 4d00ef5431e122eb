"""From lines to an accepted batch: replay, intake, limit, row, first jobs."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import structlog
from flask import g

from api.auth import current_user
from api.batches.intake import Intake, LineReader
from api.planning import Planner
from api.quotas import quotas_of, refuse_unknown_price, reserve
from api.services import Services
from api.submission import idempotency_key, most_queued, owner_of, send_next
from darkroom.domain import Batch, BatchItem, Job, NewBatch, User
from darkroom.errors import Conflict, InvalidRequest, LimitReached, Unavailable
from darkroom.quotas import FULL_S
from storage.batches import new_batch_id
from storage.chunks import Draft

log = structlog.get_logger(__name__)


def replayed(owner_id: str, request_hash: str, services: Services) -> Batch | None:
    """The batch that this request made when it was sent before under the same key.

    Raises IdempotencyConflict.
    """
    key = idempotency_key()
    return services.storage.batches.replayed(owner_id, key, request_hash) if key else None


def submit_batch(
    lines: Iterable[tuple[int, Any]],
    services: Services,
    *,
    read: LineReader,
    request_hash: str,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Batch:
    """Accept all lines of the current user as one batch, and let its first jobs begin.

    A line is its number and a JSON object, or the text of one. Raises InvalidBatch,
    IdempotencyConflict, LimitReached, Disabled, or Unavailable; then nothing was accepted.
    """
    batch_id = new_batch_id()
    intake = Intake(services, read)
    with Draft(is_raw=True) as draft, Draft() as finished:
        intake.take(lines, draft)
        _refuse_full_queue(current_user(), draft.total, services)
        new = NewBatch(
            owner_id=current_user().id,
            name=name,
            metadata=metadata or {},
            request_id=g.request_id,
            idempotency_key=idempotency_key(),
            request_hash=request_hash,
        )
        return _accept(new, intake.read_pictures(draft, finished, batch_id), batch_id, services)


def retry_batch(batch: Batch, services: Services) -> Batch:
    """Accept what failed or was canceled in a batch once more, as a new batch of the same owner.

    Raises Conflict when nothing did, or the batch goes on; LimitReached; and InvalidRequest or
    ModelNotAllowed when its owner may not ask for it any more.
    """
    request_hash = hashlib.sha256(f"retry of {batch.id}".encode()).hexdigest()
    earlier = replayed(batch.owner_id, request_hash, services)
    if earlier is not None:
        return earlier
    counts = services.storage.batches.counts(batch)
    if not counts.status(was_canceled=batch.cancel_requested_at is not None).is_finished:
        raise Conflict("The batch goes on: wait until it is finished, or cancel it first.")
    if counts.failed + counts.canceled == 0:
        raise Conflict("Nothing in the batch failed or was canceled: there is nothing to retry.")
    owner = owner_of(batch.owner_id, services)
    planner = Planner(services, owner.limits)
    _refuse_full_queue(owner, counts.failed + counts.canceled, services)
    batch_id = new_batch_id()
    with Draft() as draft:
        for job in services.storage.batches.unsuccessful(batch):
            planner.refuse_repeat(job.engine, job.model, job.request)
            draft.add(_priced(_as_item(job, batch_id, services), batch.owner_id, services))
        for item in services.storage.batches.never_planted(batch):
            planner.refuse_repeat(item.engine, item.model, item.request)
            _share(item, batch.id, batch_id, services)
            draft.add(_priced(replace(item, deadline=None), batch.owner_id, services))
        new = NewBatch(
            owner_id=batch.owner_id,
            name=batch.name,
            metadata=batch.metadata,
            request_id=g.request_id,
            idempotency_key=idempotency_key(),
            request_hash=request_hash,
            retry_of=batch.id,
        )
        return _accept(new, draft, batch_id, services)


def cancel_batch(batch: Batch, services: Services) -> None:
    """Cancel what has not begun, and ask the workers of the rest to stop."""
    for job_id in services.storage.batches.request_cancel(batch.id):
        # Who waits for one that had not begun looks by itself, every two seconds.
        services.announce_change(job_id)


def _as_item(job: Job, batch_id: str, services: Services) -> BatchItem:
    place = job.place
    item = BatchItem(
        line=place.line if place else 1,
        custom_id=place.custom_id if place else job.id,
        engine=job.engine,
        model=job.model,
        request=job.request,
        warnings=job.warnings,
        metadata=job.metadata,
        retry_of=job.id,
    )
    _share(item, job.id, batch_id, services)
    return item


def _priced(item: BatchItem, owner_id: str, services: Services) -> BatchItem:
    """With what it costs now. Raises PriceUnknown."""
    cost = services.registry.price(item.engine, item.model).estimate(item.request)
    refuse_unknown_price(item.engine, item.model, cost, quotas_of(owner_id, services), services)
    return replace(item, estimated_cost=cost)


def _share(item: BatchItem, holder_id: str, batch_id: str, services: Services) -> None:
    if not services.storage.inputs.share(item.request, holder_id, batch_id):
        raise Conflict(
            f"The pictures that {item.custom_id!r} worked on are not kept any more: send the batch"
            " again."
        )


def _refuse_full_queue(owner: User, more: int, services: Services) -> None:
    most = most_queued(owner, services)
    if more > most:
        raise InvalidRequest(
            f"The batch has {more:,} items, and one user may have {most:,} waiting: make several of"
            " it.",
            param="items",
        )
    if not services.storage.batches.has_room_for(owner.id, most=most, more=more):
        raise LimitReached(
            f"With these {more:,} items more than {most:,} would wait, which is as many as one user"
            " may have: wait until some are done, or send fewer.",
            retry_after_s=FULL_S,
        )


def _accept(new: NewBatch, draft: Draft, batch_id: str, services: Services) -> Batch:
    with reserve(
        new.owner_id, quotas_of(new.owner_id, services), images=draft.images, cost=draft.cost
    ) as reservation:
        batch, is_new = services.storage.batches.submit(
            new, draft, batch_id=batch_id, reservation=reservation
        )
    if is_new:
        _begin(batch, services)
    return batch


def _begin(batch: Batch, services: Services) -> None:
    """Let the first jobs begin at once; upkeep makes the others, and these if that fails now."""
    try:
        for engine in sorted(services.storage.batches.plant(batch.id)):
            send_next(engine, services)
    except Unavailable as error:
        log.warning("nothing planted yet", batch_id=batch.id, reason=error.detail)
