"""Costs and limits in JSON: money is decimal text, for numbers of JSON are not exact."""

from typing import Any

from darkroom.domain import BatchCosts, Job
from darkroom.quotas import Standing, amount


def cost_view(job: Job, currency: str) -> dict[str, Any]:
    """What a job costs, as `CostSchema` shows it."""
    return estimate_view(
        job.estimated_cost, currency, actual=job.actual_cost, is_finished=job.status.is_finished
    )


def batch_cost_view(
    costs: BatchCosts, currency: str, *, has_finished_items: bool, is_finished: bool
) -> dict[str, Any]:
    """What a batch costs, as `BatchCostSchema` shows it."""
    return estimate_view(
        costs.estimated,
        currency,
        actual=costs.actual if has_finished_items else None,
        is_finished=is_finished,
    )


def estimate_view(
    estimated: int | None, currency: str, *, actual: int | None = None, is_finished: bool = False
) -> dict[str, Any]:
    """What something costs, in millionths, as `CostSchema` shows it."""
    return {
        "estimated": shown(estimated),
        "actual": shown(actual),
        "currency": currency,
        "is_known": (actual if is_finished else estimated) is not None,
    }


def standing_view(standing: Standing) -> dict[str, Any]:
    """How a limit stands, as `QuotaSchema` shows it."""
    show = str if standing.what == "images" else amount
    return {
        "what": standing.what,
        "period": standing.period,
        "limit": show(standing.limit),
        "used": show(standing.used),
        "remaining": show(standing.remaining),
        "resets_at": standing.ends_at,
    }


def shown(counted: int | None) -> str | None:
    """An amount; None where nobody knows it."""
    return None if counted is None else amount(counted)
