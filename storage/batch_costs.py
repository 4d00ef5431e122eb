"""What the items of a batch cost together: those that are jobs, and those that are none yet."""

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    type_coerce,
    union_all,
)

from darkroom.domain import OUTCOME_UNKNOWN, BatchCosts, JobStatus
from storage.database import Database
from storage.tables import batch_chunks, jobs

IS_FREE = func.coalesce(jobs.c.estimated_cost == 0, False)
NOBODY_SAW_THE_END = or_(
    and_(
        jobs.c.status == JobStatus.FAILED,
        type_coerce(jobs.c.error, JSON)["code"].as_string() == OUTCOME_UNKNOWN,
    ),
    and_(jobs.c.status == JobStatus.CANCELED, jobs.c.worker.is_not(None)),
)

#: As `Job.actual_cost` has it, for jobs that are finished.
ACTUAL: ColumnElement[int | None] = case(
    (jobs.c.status == JobStatus.SUCCEEDED, jobs.c.cost),
    (and_(NOBODY_SAW_THE_END, ~IS_FREE), null()),
    else_=0,
)


def _is_any(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.max(case((condition, 1), else_=0)), 0)


# One statement: what becomes a job in between must not count twice, nor be left out.
COSTS = union_all(
    select(
        func.sum(jobs.c.estimated_cost).label("estimated"),
        _is_any(jobs.c.estimated_cost.is_(None)).label("is_estimate_unknown"),
        func.sum(case((jobs.c.finished_at.is_not(None), ACTUAL))).label("actual"),
        _is_any(and_(jobs.c.finished_at.is_not(None), ACTUAL.is_(None))).label("is_actual_unknown"),
    ).where(jobs.c.batch_id == bindparam("batch_id")),
    select(
        func.sum(batch_chunks.c.cost),
        # What each item costs is a list of numbers, and of nulls; a release before kept no list.
        _is_any(
            or_(batch_chunks.c.costs.is_(None), cast(batch_chunks.c.costs, Text).like("%null%"))
        ),
        cast(null(), BigInteger),
        literal(0),
    ).where(batch_chunks.c.batch_id == bindparam("batch_id")),
)


def costs_of(database: Database, batch_id: str) -> BatchCosts:
    """What all items are expected to cost, and what the finished ones did."""
    with database.reading() as connection:
        rows = connection.execute(COSTS, {"batch_id": batch_id}).all()
    # PostgreSQL sums big whole numbers up to decimal ones.
    return BatchCosts(
        estimated=None
        if any(row.is_estimate_unknown for row in rows)
        else sum(int(row.estimated or 0) for row in rows),
        actual=None
        if any(row.is_actual_unknown for row in rows)
        else sum(int(row.actual or 0) for row in rows),
    )
