"""The usage report: what was asked for, drawn and spent, by user, model and day.

It is read from the jobs, which stay when their pictures are deleted. What a job counts for is what
migration 0011 says, so that a report and the quotas agree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, ColumnElement, Integer, case, cast, func, select, type_coerce

from darkroom.domain import OUTCOME_UNKNOWN, JobStatus
from darkroom.quotas import DAY_S
from storage.database import Database
from storage.tables import jobs, users

FIRST_DAY = date(1970, 1, 1)


class Grouping(StrEnum):
    """What a line of the report is about."""

    USER = "user"
    MODEL = "model"
    DAY = "day"


@dataclass(frozen=True, kw_only=True)
class UsageLine:
    """What some jobs came to; those of one user, model and day, as far as the report tells these
    apart."""

    user_id: str | None = None
    email: str | None = None
    engine: str | None = None
    model: str | None = None
    #: Of UTC; a job belongs to the day on which it was accepted.
    day: date | None = None
    jobs: int
    succeeded: int
    failed: int
    canceled: int
    #: How many are not finished; they count with all they ask for.
    unfinished: int
    images: int
    #: Size of the pictures that were drawn, kept or not.
    bytes: int
    #: In millionths, as far as it is known.
    cost: int
    #: How many jobs cost, or will cost, nobody knows how much.
    unknown_cost: int
    input_tokens: int
    output_tokens: int


class UsageReports:
    """Reads reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def report(
        self,
        first: date,
        last: date,
        *,
        group_by: Sequence[Grouping],
        owner_id: str | None = None,
    ) -> Iterator[UsageLine]:
        """The lines for the jobs accepted from the first day to the last, both included, of one
        user or of everybody; in the order of what they are grouped by."""
        keys = [key for each in group_by for key in KEYS[each]]
        query = (
            select(*keys, *SUMS)
            .join(users, users.c.id == jobs.c.owner_id)
            .where(jobs.c.created_at >= _start_of(first))
            .where(jobs.c.created_at < _start_of(last + timedelta(days=1)))
        )
        if owner_id is not None:
            query = query.where(jobs.c.owner_id == owner_id)
        if keys:
            query = query.group_by(*keys).order_by(*keys)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            yield _line(row._mapping)


def _start_of(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _line(values: Any) -> UsageLine:
    read: dict[str, Any] = {name: value for name, value in values.items() if name != "day_number"}
    if "day_number" in values:
        read["day"] = FIRST_DAY + timedelta(days=int(values["day_number"]))
    # PostgreSQL sums big whole numbers up to decimal ones.
    line: dict[str, Any] = {
        name: value if name in WORDS else int(value or 0) for name, value in read.items()
    }
    return UsageLine(**line)


def _count(condition: ColumnElement[bool], name: str) -> ColumnElement[Any]:
    return func.sum(case((condition, 1), else_=0)).label(name)


def _total(value: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    return func.coalesce(func.sum(value), 0).label(name)


ASKED = jobs.c.request["count"].as_integer()
SUCCEEDED = jobs.c.status == JobStatus.SUCCEEDED
FAILED = jobs.c.status == JobStatus.FAILED
CANCELED = jobs.c.status == JobStatus.CANCELED
MAY_BE_DRAWN = type_coerce(jobs.c.error, JSON)["code"].as_string() == OUTCOME_UNKNOWN

# As in migration 0011.
IMAGES = case(
    (SUCCEEDED, func.coalesce(jobs.c.drawn, ASKED)),
    (CANCELED, 0),
    (FAILED, case((MAY_BE_DRAWN, ASKED), else_=0)),
    else_=ASKED,
)
COST: ColumnElement[Any] = case(
    (SUCCEEDED, func.coalesce(jobs.c.cost, jobs.c.estimated_cost)),
    (CANCELED, case((jobs.c.worker.is_(None), 0), else_=jobs.c.estimated_cost)),
    (FAILED, case((MAY_BE_DRAWN, jobs.c.estimated_cost), else_=0)),
    else_=jobs.c.estimated_cost,
)

KEYS: dict[Grouping, tuple[ColumnElement[Any], ...]] = {
    Grouping.USER: (users.c.email, users.c.id.label("user_id")),
    Grouping.MODEL: (jobs.c.engine, jobs.c.model),
    Grouping.DAY: (cast(func.floor(jobs.c.created_at / DAY_S), Integer).label("day_number"),),
}
WORDS = frozenset({"email", "user_id", "engine", "model", "day"})

SUMS = (
    func.count().label("jobs"),
    _count(SUCCEEDED, "succeeded"),
    _count(FAILED, "failed"),
    _count(CANCELED, "canceled"),
    _count(jobs.c.finished_at.is_(None), "unfinished"),
    _total(IMAGES, "images"),
    _total(jobs.c.drawn_bytes, "bytes"),
    _total(COST, "cost"),
    _count(COST.is_(None), "unknown_cost"),
    _total(jobs.c.usage["input_tokens"].as_integer(), "input_tokens"),
    _total(jobs.c.usage["output_tokens"].as_integer(), "output_tokens"),
)
