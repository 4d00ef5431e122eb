"""Jobs: the rows that hold the truth.

Every change of state goes through `_move`, one compare-and-set UPDATE: it names the states the
change may start from (`darkroom.domain.TRANSITIONS`) and, once a worker has the job, the attempt
that worker holds. A worker whose lease ran out and whose job went on without it changes nothing.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    exists,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from darkroom.domain import (
    Attempt,
    ImageRequest,
    Job,
    JobError,
    JobStatus,
    NewJob,
    states_before,
)
from darkroom.errors import DeadlineExceeded, IdempotencyConflict, LeaseLost, NotFound
from storage.database import Database, epoch_now
from storage.images import KeptPicture, insert_images
from storage.records import job_of, request_to_json
from storage.tables import attempts, engine_health, file_claims, jobs

#: States in which a worker owns a job.
OWNED = (JobStatus.RUNNING, JobStatus.CANCELING)

#: The same, to the letter of a partial index.
STILL_OWNED: ColumnElement[bool] = literal_column("jobs.status IN ('running', 'canceling')")

#: What an attempt came to when it was stopped on purpose, or nobody knows.
HANDED_BACK = "handed_back"
LEASE_LOST = "lease_lost"

#: Most ids in one `IN (…)`; SQLite allows few thousand variables.
CHUNK = 500


class Jobs:
    """All jobs, and the only way to change their state."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, new: NewJob) -> tuple[Job, bool]:
        """Accept a job. Returns it, and whether it is new.

        A job the owner submitted before with the same idempotency key is returned instead.
        Raises IdempotencyConflict when that one asked for something else.
        """
        job_id = str(uuid.uuid4())
        try:
            with self._database.writing() as connection:
                row = connection.execute(
                    insert(jobs)
                    .values(
                        id=job_id,
                        owner_id=new.owner_id,
                        status=JobStatus.QUEUED,
                        engine=new.engine,
                        model=new.model,
                        request=request_to_json(new.request),
                        warnings=list(new.warnings),
                        metadata=dict(new.metadata),
                        attempt=0,
                        progress=0.0,
                        request_id=new.request_id,
                        idempotency_key=new.idempotency_key,
                        request_hash=new.request_hash,
                        lane=new.lane,
                        deadline=new.deadline,
                        retry_of=new.retry_of,
                        created_at=epoch_now(),
                    )
                    .returning(jobs)
                ).one()
                return job_of(row), True
        except IntegrityError:
            earlier = None
            if new.idempotency_key is not None:
                earlier = self.replayed(new.owner_id, new.idempotency_key, new.request_hash)
            if earlier is None:
                raise
            return earlier, False

    def replayed(self, owner_id: str, idempotency_key: str, request_hash: str | None) -> Job | None:
        """The job that the owner submitted before with this key, if any.

        Raises IdempotencyConflict when that one asked for something else.
        """
        query = select(jobs).where(
            jobs.c.owner_id == owner_id, jobs.c.idempotency_key == idempotency_key
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        if row.request_hash != request_hash:
            raise IdempotencyConflict(
                "This Idempotency-Key was used before with another request:"
                " use a new key for a new request.",
                param="Idempotency-Key",
            )
        return job_of(row)

    def get(self, job_id: str, *, owner_id: str | None = None) -> Job:
        """One job, of that owner if one is named. Raises NotFound."""
        query = select(jobs).where(jobs.c.id == job_id)
        if owner_id is not None:
            query = query.where(jobs.c.owner_id == owner_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"There is no job {job_id!r}.")
        return job_of(row)

    def list(
        self,
        *,
        owner_id: str | None = None,
        status: JobStatus | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Sequence[Job]:
        """The newest jobs first; `after` continues behind the job of that id."""
        query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        if owner_id is not None:
            query = query.where(jobs.c.owner_id == owner_id)
        if status is not None:
            query = query.where(jobs.c.status == status)
        if after is not None:
            last = self.get(after, owner_id=owner_id)
            query = query.where(
                tuple_(jobs.c.created_at, jobs.c.id) < tuple_(last.created_at, last.id)
            )
        return self._all(query)

    def finished_among(self, job_ids: Collection[str]) -> set[str]:
        """Which of these jobs are finished (or gone)."""
        pending: set[str] = set()
        for chunk in _chunks(job_ids):
            with self._database.reading() as connection:
                pending.update(
                    connection.scalars(
                        select(jobs.c.id).where(
                            jobs.c.id.in_(chunk),
                            jobs.c.status.in_([each for each in JobStatus if not each.is_finished]),
                        )
                    )
                )
        return set(job_ids) - pending

    def claim(self, job_id: str, *, worker: str, lease_s: float) -> Job | None:
        """Take a queued job for `lease_s` seconds, or None when it is not to be had: somebody
        else has it, it is not due yet, or its engine rests.

        The returned job's `attempt` is the fencing token for every later write.
        """
        is_due = or_(jobs.c.not_before.is_(None), jobs.c.not_before <= epoch_now())
        rests = exists().where(
            engine_health.c.engine == jobs.c.engine, engine_health.c.rests_until.is_not(None)
        )
        with self._database.writing() as connection:
            row = connection.execute(
                _move(job_id, JobStatus.RUNNING, is_due, ~rests)
                .values(
                    attempt=jobs.c.attempt + 1,
                    worker=worker,
                    lease_until=epoch_now() + lease_s,
                    started_at=epoch_now(),
                    not_before=None,
                    progress=0.0,
                )
                .returning(jobs)
            ).one_or_none()
            if row is None:
                return None
            connection.execute(
                insert(attempts).values(
                    job_id=row.id,
                    number=row.attempt,
                    engine=row.engine,
                    model=row.model,
                    worker=worker,
                    started_at=row.started_at,
                )
            )
            return job_of(row)

    def renew(self, worker: str, held: Mapping[str, int], *, lease_s: float) -> set[str]:
        """Renew the leases of all jobs (id → attempt) a worker process holds, in one UPDATE.

        Returns the ids that are still its own; it must drop the others.
        """
        if not held:
            return set()
        with self._database.writing() as connection:
            rows = connection.execute(
                update(jobs)
                .where(
                    tuple_(jobs.c.id, jobs.c.attempt).in_(list(held.items())),
                    jobs.c.worker == worker,
                    jobs.c.status.in_(OWNED),
                )
                .values(lease_until=epoch_now() + lease_s)
                .returning(jobs.c.id)
            )
            return set(rows.scalars())

    def canceling_among(self, job_ids: Collection[str]) -> set[str]:
        """Which of these jobs someone asked to cancel."""
        found: set[str] = set()
        for chunk in _chunks(job_ids):
            with self._database.reading() as connection:
                found.update(
                    connection.scalars(
                        select(jobs.c.id).where(
                            jobs.c.id.in_(chunk), jobs.c.status == JobStatus.CANCELING
                        )
                    )
                )
        return found

    def note(
        self, held: Job, *, progress: float | None = None, upstream_id: str | None = None
    ) -> None:
        """Keep what the engine reports. Raises LeaseLost when the job is not ours any more."""
        values: dict[str, Any] = {"revision": jobs.c.revision + 1}
        if progress is not None:
            values["progress"] = min(max(progress, 0.0), 1.0)
        if upstream_id is not None:
            values["upstream_id"] = upstream_id
        with self._database.writing() as connection:
            changed = connection.execute(
                update(jobs).where(*_held(held), jobs.c.status.in_(OWNED)).values(values)
            ).rowcount
        if not changed:
            raise LeaseLost(f"Job {held.id} is not owned by attempt {held.attempt} any more.")

    def succeed(
        self, held: Job, pictures: Sequence[KeptPicture], *, warnings: Sequence[str]
    ) -> bool:
        """Finish a job with its pictures, all in one transaction.

        Returns False, and changes nothing, when the job is not held by this attempt any more.
        """
        with self._database.writing() as connection:
            finished = self._finish(
                connection, held, JobStatus.SUCCEEDED, progress=1.0, warnings=list(warnings)
            )
            if finished:
                insert_images(connection, held, pictures)
                connection.execute(
                    file_claims.delete().where(
                        file_claims.c.job_id == held.id, file_claims.c.attempt == held.attempt
                    )
                )
        return finished

    def fail(self, held: Job, error: JobError) -> bool:
        """Finish a job with an error; False when it is not held by this attempt any more."""
        with self._database.writing() as connection:
            return self._finish(
                connection,
                held,
                JobStatus.FAILED,
                outcome=error.code,
                detail=error.detail,
                error=asdict(error),
            )

    def cancel_held(self, held: Job) -> bool:
        """Finish a job that was being canceled; False when this attempt does not hold it."""
        with self._database.writing() as connection:
            return self._finish(connection, held, JobStatus.CANCELED)

    def hand_back(
        self,
        held: Job,
        *,
        outcome: str = HANDED_BACK,
        detail: str | None = None,
        delay_s: float = 0.0,
        is_run_over: bool = False,
    ) -> bool:
        """Let a job this attempt holds wait again, for another attempt after `delay_s`.

        That one begins anew when the run is over upstream, and may go on with it otherwise.
        False when it is not held by this attempt any more, or is being canceled.
        """
        forgotten = {"upstream_id": None} if is_run_over else {}
        with self._database.writing() as connection:
            return self._requeue(connection, held, outcome, detail, delay_s=delay_s, **forgotten)

    def reroute(
        self,
        held: Job,
        error: JobError,
        *,
        engine: str,
        model: str,
        request: ImageRequest,
        warning: str,
    ) -> bool:
        """Let a job wait again, for another model; the warning tells its owner. False as above."""
        with self._database.writing() as connection:
            return self._requeue(
                connection,
                held,
                error.code,
                error.detail,
                engine=engine,
                model=model,
                request=request_to_json(request),
                warnings=[*held.warnings, warning],
                upstream_id=None,
            )

    def reroute_waiting(
        self, job: Job, *, engine: str, model: str, request: ImageRequest, warning: str
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
                        sent_at=None,
                        not_before=None,
                        revision=jobs.c.revision + 1,
                    )
                ).rowcount
            )

    def waiting_for(self, engine: str, models: Collection[str], *, limit: int) -> Sequence[Job]:
        """Queued jobs for these models of an engine, oldest first."""
        return self._all(
            select(jobs)
            .where(
                jobs.c.status == JobStatus.QUEUED,
                jobs.c.engine == engine,
                jobs.c.model.in_(sorted(models)),
            )
            .order_by(jobs.c.created_at)
            .limit(limit)
        )

    def expire(self) -> Sequence[str]:
        """Fail the queued jobs whose deadline has come; returns their ids."""
        error = JobError(
            code=DeadlineExceeded.code, detail="The job was still waiting at its deadline."
        )
        with self._database.writing() as connection:
            return list(
                connection.scalars(
                    update(jobs)
                    .where(
                        jobs.c.status == JobStatus.QUEUED,
                        jobs.c.deadline < epoch_now(),
                        jobs.c.finished_at.is_(None),
                    )
                    .values(
                        status=JobStatus.FAILED,
                        error=asdict(error),
                        finished_at=epoch_now(),
                        revision=jobs.c.revision + 1,
                    )
                    .returning(jobs.c.id)
                )
            )

    def attempts_of(self, job_id: str) -> Sequence[Attempt]:
        """Every try at a job, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
            )
            return [
                Attempt(
                    number=row.number,
                    engine=row.engine,
                    model=row.model,
                    worker=row.worker,
                    started_at=row.started_at,
                    ended_at=row.ended_at,
                    outcome=row.outcome,
                    detail=row.detail,
                )
                for row in rows
            ]

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a queued job at once, or ask the worker of a running one to stop.

        Asking again, or asking a finished job, changes nothing. Returns the job as it is then.
        Raises NotFound.
        """
        with self._database.writing() as connection:
            # Locked, so that a job handed back between the two changes is not missed by both.
            connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())
            canceled = connection.execute(
                _move(job_id, JobStatus.CANCELED, jobs.c.status == JobStatus.QUEUED)
                .values(finished_at=epoch_now())
                .returning(jobs.c.id)
            ).one_or_none()
            if canceled is None:
                connection.execute(_move(job_id, JobStatus.CANCELING))
        return self.get(job_id)

    def with_expired_lease(self, *, limit: int = 100) -> Sequence[Job]:
        """Jobs whose worker gave no sign of life for longer than its lease."""
        return self._all(
            select(jobs)
            .where(STILL_OWNED, jobs.c.lease_until < epoch_now())
            .order_by(jobs.c.lease_until)
            .limit(limit)
        )

    def check(self) -> None:
        """Raises Unavailable when the database does not answer."""
        self._database.check()

    def _all(self, query: Select[Any]) -> Sequence[Job]:
        with self._database.reading() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def _finish(
        self,
        connection: Connection,
        held: Job,
        status: JobStatus,
        *,
        outcome: str | None = None,
        detail: str | None = None,
        **values: Any,
    ) -> bool:
        row = connection.execute(
            _move(held.id, status, *_held(held))
            .values(finished_at=epoch_now(), lease_until=None, **values)
            .returning(jobs.c.id)
        ).one_or_none()
        if row is None:
            return False
        _end_attempt(connection, held, outcome or status, detail)
        return True

    def _requeue(
        self,
        connection: Connection,
        held: Job,
        outcome: str,
        detail: str | None,
        *,
        delay_s: float = 0.0,
        **values: Any,
    ) -> bool:
        row = connection.execute(
            _move(held.id, JobStatus.QUEUED, *_held(held))
            .values(
                lease_until=None,
                worker=None,
                sent_at=None,
                not_before=epoch_now() + delay_s if delay_s else None,
                **values,
            )
            .returning(jobs.c.id)
        ).one_or_none()
        if row is None:
            return False
        _end_attempt(connection, held, outcome, detail)
        return True


def _move(job_id: str, to: JobStatus, *conditions: ColumnElement[bool]) -> Any:
    return (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(sorted(states_before(to))), *conditions)
        .values(status=to, revision=jobs.c.revision + 1)
    )


def _end_attempt(connection: Connection, held: Job, outcome: str, detail: str | None) -> None:
    connection.execute(
        update(attempts)
        .where(attempts.c.job_id == held.id, attempts.c.number == held.attempt)
        .values(ended_at=epoch_now(), outcome=outcome, detail=detail)
    )


def _held(job: Job) -> tuple[ColumnElement[bool], ...]:
    return (jobs.c.id == job.id, jobs.c.attempt == job.attempt, jobs.c.status.in_(OWNED))


def _chunks(ids: Iterable[str]) -> Iterable[Sequence[str]]:
    ordered = list(ids)
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))
