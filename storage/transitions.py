"""How a job changes its state: by one compare-and-set UPDATE.

It names the states the change may start from (`darkroom.domain.TRANSITIONS`); whoever comes second
changes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, literal_column, update

from darkroom.domain import JobStatus, states_before
from storage.tables import jobs

#: States in which a worker owns a job.
OWNED = (JobStatus.RUNNING, JobStatus.CANCELING)

#: The same, to the letter of a partial index.
STILL_OWNED: ColumnElement[bool] = literal_column("jobs.status IN ('running', 'canceling')")

#: Most ids in one `IN (…)`; SQLite allows few thousand variables.
CHUNK = 500


def move(job_id: str, to: JobStatus, *conditions: ColumnElement[bool]) -> Any:
    """The UPDATE that changes a job's state; it touches no row where that is not allowed."""
    return (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(sorted(states_before(to))), *conditions)
        .values(status=to, revision=jobs.c.revision + 1)
    )


def chunks(ids: Iterable[str]) -> Iterator[Sequence[str]]:
    """The ids in parts that fit into one statement."""
    ordered = list(ids)
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))
