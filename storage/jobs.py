"""Jobs: the rows that hold the truth, as those see them who ask for pictures.

What workers do with them is in `storage.attempts`.
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    insert,
    literal,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from darkroom.domain import ImageRequest, Job, JobError, JobStatus, NewJob
from darkroom.errors import DeadlineExceeded, LimitReached, NotFound, QuotaExceeded
from darkroom.quotas import queue_is_full
from darkroom.watch.meters import meters
from storage.backlog import QUEUED_BY_OWNER, SENT, WAITING
from storage.database import Database, epoch_now, hold
from storage.records import job_of, new_row, request_to_json
from storage.replays import earlier_row
from storage.tables import jobs
from storage.tallies import Reservation
from storage.transitions import chunks, locked, move

#: How many jobs of the same request are looked at to find the one that a repeated call is about.
MOST_ALIKE = 20

# Built once, because building a statement takes longer than running it.
ACCEPT = insert(jobs).values(created_at=epoch_now()).returning(jobs)
FIND = select(jobs).where(jobs.c.id == bindparam("job_id"))
UNFINISHED = select(jobs.c.id).where(
    jobs.c.id.in_(bindparam("job_ids", expanding=True)),
    or_(*(jobs.c.status == each for each in JobStatus if not each.is_finished)),
)


def new_job_id() -> str:
    return str(uuid.uuid4())


def _queued_for(engine: str) -> ColumnElement[bool]:
    """Whether a job is queued for the engine, however many others there are."""
    # In two parts, each of which one partial index answers.
    parts = (
        select(jobs.c.id).where(state, jobs.c.engine == engine).correlate(None)
        for state in (WAITING, SENT)
    )
    return jobs.c.id.in_(union_all(*parts))


class Jobs:
    """All jobs, accepted and looked up."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(
        self,
        new: NewJob,
        *,
        job_id: str | None = None,
        reservation: Reservation | None = None,
        most_queued: int | None = None,
        also: Callable[[Connection], object] | None = None,
    ) -> tuple[Job, bool]:
        """Accept a job, under the id its inputs are held for. Returns it, and whether it is new.

        `also` is done last in the transaction that accepts it: either both are done or nothing is.
        A job the owner submitted before with the same idempotency key is returned instead.
        Raises IdempotencyConflict when that one asked for something else, and QuotaExceeded when
        what it asks for cannot be reserved; and LimitReached when its owner has `most_queued` jobs
        queued already, however many are submitted at once.
        """
        try:
            with self._database.writing() as connection:
                if reservation is not None:
                    reservation.make(connection)
                if most_queued is not None:
                    _refuse_full_queue(connection, new.owner_id, most_queued)
                job = job_of(connection.execute(ACCEPT, new_row(new, job_id or new_job_id())).one())
                if also is not None:
                    also(connection)
        except (IntegrityError, QuotaExceeded, LimitReached):
            earlier = None
            if new.idempotency_key is not None:
                earlier = self.replayed(new.owner_id, new.idempotency_key, new.request_hash)
            if earlier is None:
                raise
            return earlier, False
        meters().jobs_accepted(job.engine, job.lane)
        return job, True

    def replayed(self, owner_id: str, idempotency_key: str, request_hash: str | None) -> Job | None:
        """The job that the owner submitted before with this key, if any.

        Raises IdempotencyConflict when that one asked for something else.
        """
        row = earlier_row(self._database, jobs, owner_id, idempotency_key, request_hash)
        return None if row is None else job_of(row)

    def alike(
        self, owner_id: str, request_hash: str, *, within_s: float, finished_within_s: float
    ) -> Sequence[Job]:
        """The newest jobs without an idempotency key that the owner submitted with this request in
        the last `within_s` seconds; of the finished ones those of the last `finished_within_s`.
        """
        now = epoch_now()
        return self._all(
            select(jobs)
            .where(
                jobs.c.owner_id == owner_id,
                jobs.c.created_at > now - within_s,
                jobs.c.request_hash == request_hash,
                jobs.c.idempotency_key.is_(None),
                or_(jobs.c.finished_at.is_(None), jobs.c.finished_at > now - finished_within_s),
            )
            .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
            .limit(MOST_ALIKE)
        )

    def get(self, job_id: str, *, owner_id: str | None = None) -> Job:
        """One job, of that owner if one is named. Raises NotFound."""
        with self._database.reading() as connection:
            row = connection.execute(FIND, {"job_id": job_id}).one_or_none()
        if row is None or owner_id not in (None, row.owner_id):
            raise NotFound(f"There is no job {job_id!r}.")
        return job_of(row)

    def list(
        self,
        *,
        owner_id: str | None = None,
        status: JobStatus | None = None,
        batch_id: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Sequence[Job]:
        """The newest jobs first; `after` continues behind the job of that id."""
        query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        if owner_id is not None:
            query = query.where(jobs.c.owner_id == owner_id)
        if status is not None:
            query = query.where(jobs.c.status == status)
        if batch_id is not None:
            query = query.where(jobs.c.batch_id == batch_id)
        if after is not None:
            last = self.get(after, owner_id=owner_id)
            query = query.where(
                tuple_(jobs.c.created_at, jobs.c.id) < tuple_(last.created_at, last.id)
            )
        return self._all(query)

    def finished_among(self, job_ids: Collection[str]) -> set[str]:
        """Which of these jobs are finished (or gone)."""
        pending: set[str] = set()
        for chunk in chunks(job_ids):
            with self._database.reading() as connection:
                pending.update(connection.scalars(UNFINISHED, {"job_ids": chunk}))
        return set(job_ids) - pending

    def reroute_waiting(
        self,
        job: Job,
        *,
        engine: str,
        model: str,
        request: ImageRequest,
        warning: str,
        estimated_cost: int | None = None,
    ) -> bool:
        """Let a job that waits wait for another model. False when it does not wait any more."""
        with self._database.writing() as connection:
            return bool(
                connection.execute(
                    update(jobs)
                    .where(
                        jobs.c.id == job.id,
                        jobs.c.status == JobStatus.QUEUED,
                        jobs.c.engine == job.engine,
                    )
                    .values(
                        engine=engine,
                        model=model,
                        request=request_to_json(request),
                        warnings=[*job.warnings, warning],
                        upstream_id=None,
                        server=None,
                        avoided=None,
                        sent_at=None,
                        not_before=None,
                        estimated_cost=estimated_cost,
                        revision=jobs.c.revision + 1,
                    )
                ).rowcount
            )

    def waiting_for(self, engine: str, models: Collection[str], *, limit: int) -> Sequence[Job]:
        """Queued jobs for these models of an engine, oldest first."""
        return self._all(
            select(jobs)
            .where(
                _queued_for(engine),
                jobs.c.model.in_(sorted(models)),
                jobs.c.upstream_id.is_(None),
            )
            .order_by(jobs.c.created_at)
            .limit(limit)
        )

    def expire(self) -> Sequence[str]:
        """Fail the queued jobs whose deadline has come; returns their ids."""
        error = JobError(
            code=DeadlineExceeded.code, detail="The job was still waiting at its deadline."
        )
        return self._fail_queued(error, jobs.c.deadline < epoch_now(), jobs.c.finished_at.is_(None))

    def give_up_waiting(self, engine: str, error: JobError, *, after_s: float) -> Sequence[str]:
        """Fail the queued jobs of an engine that were accepted so long ago; returns their ids."""
        is_old = epoch_now() - jobs.c.created_at > after_s
        return self._fail_queued(error, _queued_for(engine), is_old)

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a queued job at once, or ask the worker of a running one to stop.

        Asking again, or asking a finished job, changes nothing. Returns the job as it is then.
        Raises NotFound.
        """
        with self._database.writing() as connection:
            # Locked, so that a job handed back between the two changes is not missed by both.
            connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())
            canceled = connection.execute(
                move(job_id, JobStatus.CANCELED, jobs.c.status == JobStatus.QUEUED)
                .values(finished_at=epoch_now())
                .returning(jobs.c.engine)
            ).one_or_none()
            if canceled is None:
                connection.execute(move(job_id, JobStatus.CANCELING))
        if canceled is not None:
            meters().jobs_ended(canceled.engine, JobStatus.CANCELED)
        return self.get(job_id)

    def _fail_queued(self, error: JobError, *conditions: ColumnElement[bool]) -> Sequence[str]:
        with self._database.writing() as connection:
            failed = connection.execute(
                update(jobs)
                .where(jobs.c.id.in_(locked(jobs.c.status == JobStatus.QUEUED, *conditions)))
                .values(
                    status=JobStatus.FAILED,
                    error=asdict(error),
                    finished_at=epoch_now(),
                    revision=jobs.c.revision + 1,
                )
                .returning(jobs.c.id, jobs.c.engine)
            ).all()
        for row in failed:
            meters().jobs_ended(row.engine, error.code)
        return [row.id for row in failed]

    def _all(self, query: Select[Any]) -> Sequence[Job]:
        with self._database.reading() as connection:
            return [job_of(row) for row in connection.execute(query)]


def _refuse_full_queue(connection: Connection, owner_id: str, most: int) -> None:
    # Until the transaction ends, so that nobody else takes the same place.
    hold(connection, literal(f"queue of {owner_id}"))
    queued = connection.scalar(QUEUED_BY_OWNER, {"owner": owner_id, "most": most}) or 0
    if queued >= most:
        raise queue_is_full(most)
