"""Quotas and budgets: how much one user may have drawn, and spend, in a day and in a month.

Days and months are those of UTC. Money is counted in millionths of the currency's unit, as whole
numbers, so that sums are exact.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Self

from darkroom.errors import BudgetExceeded, LimitReached, QuotaExceeded

#: How many millionths make one.
MILLION = 1_000_000

DAY_S = 24 * 3600

#: More than anybody draws or spends; keeps sums within what a database holds.
MOST_IMAGES = 10**12
MOST_MONEY = 10**9

#: When somebody whose queue is full may ask again, in seconds.
FULL_S = 10.0


def millionths(amount: Decimal) -> int:
    """An amount of money as it is counted, rounded to the nearest millionth."""
    return int((amount * MILLION).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def amount(counted: int) -> str:
    """The same the other way round, with two decimals at least: `0.04`, `0.006528`."""
    whole = f"{Decimal(counted) / MILLION:.6f}".rstrip("0")
    return whole + "0" * (2 - len(whole.partition(".")[2])) if "." in whole else whole


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """The most that a user may have; None for any. Budgets are in millionths."""

    images_per_day: int | None = None
    images_per_month: int | None = None
    budget_per_day: int | None = None
    budget_per_month: int | None = None

    @property
    def are_set(self) -> bool:
        return any(each is not None for each in asdict(self).values())

    @property
    def have_budget(self) -> bool:
        return self.budget_per_day is not None or self.budget_per_month is not None

    def but(self, own: Mapping[str, int | None]) -> Self:
        """These, but for what an admin set for one user; None there lifts a limit."""
        known = {each.name for each in fields(self)}
        return replace(self, **{name: value for name, value in own.items() if name in known})


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a user's jobs of this day and month count for; money in millionths."""

    #: The moment it was counted at (Unix time, in seconds).
    at: float
    images_day: int = 0
    images_month: int = 0
    cost_day: int = 0
    cost_month: int = 0

    def plus(self, images: int, cost: int) -> Self:
        return replace(
            self,
            images_day=self.images_day + images,
            images_month=self.images_month + images,
            cost_day=self.cost_day + cost,
            cost_month=self.cost_month + cost,
        )


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How one limit stands."""

    #: `images` or `budget`.
    what: str
    #: `day` or `month`.
    period: str
    limit: int
    used: int
    #: When the period is over (Unix time, in seconds).
    ends_at: float

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)


def standings(quotas: Quotas, spent: Spent) -> Iterator[Standing]:
    """How each limit that is set stands."""
    ends = {"day": end_of_day(spent.at), "month": end_of_month(spent.at)}
    for what, used in (("images", "images"), ("budget", "cost")):
        for period, ends_at in ends.items():
            limit = getattr(quotas, f"{what}_per_{period}")
            if limit is not None:
                yield Standing(
                    what=what,
                    period=period,
                    limit=limit,
                    used=getattr(spent, f"{used}_{period}"),
                    ends_at=ends_at,
                )


def refuse_excess(quotas: Quotas, spent: Spent, *, images: int, cost: int) -> None:
    """Raises QuotaExceeded or BudgetExceeded when so much more would be over a limit.

    What costs nothing is never over a budget.
    """
    over = [
        each
        for each in standings(quotas, spent)
        if (more := images if each.what == "images" else cost) and each.used + more > each.limit
    ]
    if not over:
        return
    # The one that lasts longest: it is no use to come back before.
    worst = max(over, key=lambda each: each.ends_at)
    raise _excess(worst, images, cost, spent.at)


def end_of_day(at: float) -> float:
    return at - at % DAY_S + DAY_S


def start_of_month(at: float) -> float:
    return _first_of_month(at).timestamp()


def end_of_month(at: float) -> float:
    # From the 28th on four days lead into the next month, whatever its length.
    return _first_of_month((_first_of_month(at) + timedelta(days=31)).timestamp()).timestamp()


def _first_of_month(at: float) -> datetime:
    now = datetime.fromtimestamp(at, UTC)
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _excess(standing: Standing, images: int, cost: int, now: float) -> QuotaExceeded:
    retry_after_s = max(1.0, standing.ends_at - now)
    until = datetime.fromtimestamp(standing.ends_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    period = "today" if standing.period == "day" else "this month"
    next_step = f"wait until {until}, ask for less, or ask an admin for more."
    details: dict[str, Any] = {"retry_after_s": retry_after_s, "standing": standing}
    if standing.what == "images":
        return QuotaExceeded(
            f"{standing.used:,} of your {standing.limit:,} images of {period} are used or"
            f" reserved, and this asks for {images:,}: {next_step}",
            **details,
        )
    return BudgetExceeded(
        f"{amount(standing.used)} of your budget of {amount(standing.limit)} for {period} is spent"
        f" or reserved, and this is estimated at {amount(cost)}: {next_step}",
        **details,
    )


def queue_is_full(most: int) -> LimitReached:
    """What is said to somebody who has as many jobs queued as they may."""
    return LimitReached(
        f"{most} jobs are queued, as many as one user may have: wait until some are done, or cancel"
        " some.",
        retry_after_s=FULL_S,
    )
