"""How a job changes its state: by one compare-and-set UPDATE.

It names the states the change may start from (`darkroom.domain.TRANSITIONS`); whoever comes second
changes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import BindParameter, ColumnElement, Update, literal_column, or_, update

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


def chunks(ids: Iterable[str]) -> Iterator[Sequence[str]]:
    """The ids in parts that fit into one statement."""
    ordered = list(ids)
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))
