"""Quotas and budgets of whoever asks: which hold, what is reserved, and the headers that tell.

Headers come with every answer to a request for pictures that a limit was looked at for:
`X-Quota-Images-Day-Limit`, `-Remaining` and `-Reset` (seconds until the day is over), and likewise
for `Images-Month`, `Budget-Day` and `Budget-Month`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, Response, g

from api.auth import current_user
from api.money import standing_view
from api.services import Services
from darkroom.errors import PriceUnknown
from darkroom.quotas import Quotas, Spent, millionths, standings
from darkroom.settings import Settings
from storage.tallies import Reservation


def default_quotas(settings: Settings) -> Quotas:
    """What holds for everybody for whom an admin said nothing else."""
    day, month = settings.budget_per_day, settings.budget_per_month
    return Quotas(
        images_per_day=settings.images_per_day,
        images_per_month=settings.images_per_month,
        budget_per_day=None if day is None else millionths(day),
        budget_per_month=None if month is None else millionths(month),
    )


def quotas_of(owner_id: str, services: Services) -> Quotas:
    """What holds for a user, who need not be the one who asks."""
    asking = current_user()
    owner = asking if asking.id == owner_id else services.storage.users.get(owner_id)
    return default_quotas(services.settings).but(owner.quotas)


def refuse_unknown_price(
    engine: str, model: str, cost: int | None, quotas: Quotas, services: Services
) -> None:
    """Raises PriceUnknown when a budget must be kept and nobody knows how."""
    if cost is None and quotas.have_budget and services.settings.unknown_prices == "refuse":
        raise PriceUnknown(
            f"You have a budget, and nobody knows what {engine}/{model} costs for this: use another"
            " model, size or quality, or ask an admin to set its `price` in the model catalog.",
            param="model",
        )


@contextmanager
def reserve(
    owner_id: str, quotas: Quotas, *, images: int, cost: int
) -> Iterator[Reservation | None]:
    """The reservation to accept something with; None when no limit holds."""
    if not quotas.are_set:
        yield None
        return
    reservation = Reservation(owner_id, quotas, images=images, cost=cost)
    try:
        yield reservation
    finally:
        if reservation.seen is not None and owner_id == current_user().id:
            g.quotas = (quotas, reservation.seen)


def tell_quotas(app: Flask) -> None:
    """Let answers say what is left."""
    app.after_request(_with_headers)


def _with_headers(response: Response) -> Response:
    known: tuple[Quotas, Spent] | None = g.get("quotas")
    if known is None:
        return response
    for each in standings(*known):
        name = f"X-Quota-{each.what.title()}-{each.period.title()}"
        view = standing_view(each)
        response.headers[f"{name}-Limit"] = view["limit"]
        response.headers[f"{name}-Remaining"] = view["remaining"]
        response.headers[f"{name}-Reset"] = str(math.ceil(each.ends_at - known[1].at))
    return response
