"""A batch as its callers see it."""

import time
from dataclasses import asdict
from typing import Any

import structlog

from api.money import batch_cost_view
from api.services import Services
from darkroom.domain import Batch, BatchCosts, BatchCounts
from darkroom.errors import Unavailable

log = structlog.get_logger(__name__)


def batch_url(batch: Batch) -> str:
    return f"/api/v1/batches/{batch.id}"


def batch_view(batch: Batch, services: Services) -> dict[str, Any]:
    """A batch as `BatchSchema` shows it. Raises Unavailable."""
    batches = services.storage.batches
    return _view(batch, batches.counts(batch), batches.costs(batch), services)


def new_batch_view(batch: Batch, services: Services) -> dict[str, Any]:
    """The same of one that was just accepted: that is said even if the database is gone since."""
    try:
        return batch_view(batch, services)
    except Unavailable as error:
        log.warning("batch shown as it was", batch_id=batch.id, reason=error.detail)
        return _view(batch, BatchCounts(queued=batch.total), BatchCosts(), services)


def _view(
    batch: Batch, counts: BatchCounts, costs: BatchCosts, services: Services
) -> dict[str, Any]:
    status = counts.status(was_canceled=batch.cancel_requested_at is not None)
    return {
        "id": batch.id,
        "url": batch_url(batch),
        "name": batch.name,
        "status": status,
        "counts": asdict(counts) | {"total": counts.total},
        "progress": counts.finished / counts.total,
        "cost": batch_cost_view(
            costs,
            services.settings.currency,
            has_finished_items=counts.finished > 0,
            is_finished=status.is_finished,
        ),
        "metadata": batch.metadata,
        "retry_of": batch.retry_of,
        "created_at": batch.created_at,
        "finished_at": finished_at(batch, services) if status.is_finished else None,
        "cancel_requested_at": batch.cancel_requested_at,
        "estimated_finish_at": _estimate(batch, counts, services),
        "results_url": f"{batch_url(batch)}/results",
        "archive_url": f"{batch_url(batch)}/images.zip",
        "user_id": batch.owner_id,
    }


def finished_at(batch: Batch, services: Services) -> float | None:
    """When a finished batch was over (Unix time, in seconds)."""
    ends = (services.storage.batches.last_finish(batch), batch.cancel_requested_at)
    return max((each for each in ends if each is not None), default=None)


def _estimate(batch: Batch, counts: BatchCounts, services: Services) -> float | None:
    if counts.finished in (0, counts.total):
        return None
    pace = services.storage.batches.pace(batch)
    return time.time() + (counts.queued + counts.running) / pace if pace else None
