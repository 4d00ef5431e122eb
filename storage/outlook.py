"""The outlook: how long those who wait may have to, guessed from what is queued and what was.

Every look is bounded, however long the backlog is.
"""

from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal_column, select, union_all

from darkroom.domain import Job, JobStatus, Lane
from storage.backlog import SENT, WAITING
from storage.database import Database, epoch_now
from storage.placing import loads
from storage.tables import attempts, jobs

#: Behind more jobs than this nobody counts.
COUNTED_AHEAD = 1000

#: How many of a model's newest attempts are looked at, and how many good ones make its usual time.
RECENT_ATTEMPTS = 200
TYPICAL_OF = 20


class Outlook:
    """What can be said about jobs that are not finished."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def position(self, job: Job) -> int | None:
        """A queued job's place in its engine's queue, from 1.

        All jobs of a lane that goes first are ahead of it, and the older ones of its own. That is
        the order for one user; with several, taking turns moves a job up or down. None beyond
        `COUNTED_AHEAD`.
        """
        own_lane = and_(
            jobs.c.lane == job.lane,
            jobs.c.created_at < job.created_at,
        )
        # In four parts, each of which one partial index answers.
        ahead = union_all(
            *(
                self._some(state, jobs.c.engine == job.engine, place)
                for state in (WAITING, SENT)
                for place in (jobs.c.lane < job.lane, own_lane)
            )
        ).subquery()
        with self._database.reading() as connection:
            count = connection.scalar(select(func.count()).select_from(ahead)) or 0
        return count + 1 if count <= COUNTED_AHEAD else None

    def typical_duration_s(self, engine: str, model: str) -> float | None:
        """The usual time of one job of this model: the median of those that succeeded lately."""
        recent = (
            select(attempts)
            .where(
                attempts.c.engine == engine,
                attempts.c.model == model,
                attempts.c.ended_at.is_not(None),
            )
            .order_by(attempts.c.ended_at.desc())
            .limit(RECENT_ATTEMPTS)
            .subquery()
        )
        query = (
            select(recent.c.ended_at - recent.c.started_at)
            .where(recent.c.outcome == JobStatus.SUCCEEDED)
            .order_by(recent.c.ended_at.desc())
            .limit(TYPICAL_OF)
        )
        with self._database.reading() as connection:
            durations = list(connection.scalars(query))
        return max(0.0, median(durations)) if durations else None

    def running(self, engine: str) -> int:
        """How many jobs of an engine workers are busy with."""
        # To the letter the condition of a partial index.
        busy: ColumnElement[bool] = literal_column("status IN ('running', 'canceling')")
        query = select(func.count()).select_from(jobs).where(busy, jobs.c.engine == engine)
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def running_by_server(self, engine: str) -> Counter[str | None]:
        """The same for each of its servers; None stands for one without a name."""
        with self._database.reading() as connection:
            return loads(connection, engine)

    def longest_waits_s(self) -> Mapping[tuple[str, Lane], float]:
        """How long the oldest queued job has waited, in seconds, by engine and lane."""
        # In two parts, each of which one partial index answers.
        oldest = union_all(
            *(
                select(jobs.c.engine, jobs.c.lane, func.min(jobs.c.created_at).label("created_at"))
                .where(state)
                .group_by(jobs.c.engine, jobs.c.lane)
                for state in (WAITING, SENT)
            )
        ).subquery()
        query = select(
            oldest.c.engine, oldest.c.lane, epoch_now() - func.min(oldest.c.created_at)
        ).group_by(oldest.c.engine, oldest.c.lane)
        with self._database.reading() as connection:
            return {
                (engine, Lane(lane)): max(0.0, waited_s)
                for engine, lane, waited_s in connection.execute(query)
            }

    @staticmethod
    def _some(*conditions: ColumnElement[bool]) -> Any:
        some = select(jobs.c.engine).where(*conditions).limit(COUNTED_AHEAD + 1)
        return select(some.subquery())
