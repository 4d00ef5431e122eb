"""How a job changes its state: by one compare-and-set UPDATE.

It names the states the change may start from (`darkroom.domain.TRANSITIONS`); whoever comes second
changes nothing. Who changes several jobs in one transaction locks them first, see `locked`.
"""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Update,
    literal_column,
    or_,
    select,
    update,
)

from darkroom.domain import JobStatus, states_before
from storage.tables import jobs

#: States in which a worker owns a job.
OWNED = (JobStatus.RUNNING, JobStatus.CANCELING)

#: The same, to the letter of a partial index.
STILL_OWNED: ColumnElement[bool] = literal_column("jobs.status IN ('running', 'canceling')")

#: Most ids in one `IN (…)`; SQLite allows few thousand variables.
CHUNK = 500


def move(
    job_id: str | BindParameter[str], to: JobStatus, *conditions: ColumnElement[bool]
) -> Update:
    """The UPDATE that changes a job's state; it touches no row where that is not allowed."""
    is_allowed = or_(*(jobs.c.status == each for each in sorted(states_before(to))))
    return (
        update(jobs)
        .where(jobs.c.id == job_id, is_allowed, *conditions)
        .values(status=to, revision=jobs.c.revision + 1)
    )


def locked(*conditions: ColumnElement[bool], pass_over: bool = False) -> Select[str]:
    """The ids of such jobs, which nobody else changes until the transaction ends.

    They are locked in the order of their ids, because two who change several jobs in orders of
    their own wait for each other in a circle, and PostgreSQL ends that by failing one of them. Who
    can do without the jobs that somebody is changing at this moment passes them over, and never
    waits. SQLite has one writer at a time, and locks nothing here.
    """
    return (
        select(jobs.c.id)
        .where(*conditions)
        .order_by(jobs.c.id)
        .correlate(None)
        .with_for_update(key_share=True, skip_locked=pass_over)
    )


def chunks(ids: Iterable[str]) -> Iterator[Sequence[str]]:
    """The ids in parts that fit into one statement."""
    ordered = list(ids)
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))
