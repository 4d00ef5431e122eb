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
    Row,
    Select,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from darkroom.domain import (
    ImageRequest,
    Job,
    JobError,
    JobStatus,
    NewJob,
    Operation,
    Size,
    states_before,
)
from darkroom.errors import IdempotencyConflict, LeaseLost, NotFound
from storage.database import Database, epoch_now
from storage.images import KeptPicture, insert_images
from storage.tables import file_claims, jobs

#: States in which a worker owns a job.
OWNED = (JobStatus.RUNNING, JobStatus.CANCELING)

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
                        request=_request_to_json(new.request),
                        warnings=list(new.warnings),
                        metadata=dict(new.metadata),
                        attempt=0,
                        progress=0.0,
                        request_id=new.request_id,
                        idempotency_key=new.idempotency_key,
                        request_hash=new.request_hash,
                        created_at=epoch_now(),
                    )
                    .returning(jobs)
                ).one()
                return _job(row), True
        except IntegrityError:
            earlier = self._by_idempotency_key(new)
            if earlier is None:
                raise
        if earlier.request_hash != new.request_hash:
            raise IdempotencyConflict(
                "This Idempotency-Key was used before with another request:"
                " use a new key for a new request.",
                param="Idempotency-Key",
            )
        return earlier, False

    def get(self, job_id: str, *, owner_id: str | None = None) -> Job:
        """One job, of that owner if one is named. Raises NotFound."""
        query = select(jobs).where(jobs.c.id == job_id)
        if owner_id is not None:
            query = query.where(jobs.c.owner_id == owner_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"There is no job {job_id!r}.")
        return _job(row)

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

    def mark_sent(self, job_ids: Collection[str]) -> None:
        """Note that the ids were handed to the queue just now."""
        with self._database.writing() as connection:
            for chunk in _chunks(job_ids):
                connection.execute(
                    update(jobs).where(jobs.c.id.in_(chunk)).values(sent_at=epoch_now())
                )

    def forget_sent(self) -> None:
        """Treat every queued job as never handed to the queue."""
        with self._database.writing() as connection:
            connection.execute(
                update(jobs).where(jobs.c.status == JobStatus.QUEUED).values(sent_at=None)
            )

    def unsent(self, *, older_than_s: float, limit: int = 500) -> Sequence[Job]:
        """Queued jobs that the queue was not handed, oldest first.

        New ones count from an age of `older_than_s` on, those that were handed back at once.
        """
        return self._all(
            select(jobs)
            .where(
                jobs.c.status == JobStatus.QUEUED,
                jobs.c.sent_at.is_(None),
                or_(jobs.c.attempt > 0, jobs.c.created_at < epoch_now() - older_than_s),
            )
            .order_by(jobs.c.created_at)
            .limit(limit)
        )

    def claim(self, job_id: str, *, worker: str, lease_s: float) -> Job | None:
        """Take a queued job for `lease_s` seconds, or None when it is not to be had.

        The returned job's `attempt` is the fencing token for every later write.
        """
        with self._database.writing() as connection:
            row = connection.execute(
                _move(job_id, JobStatus.RUNNING)
                .values(
                    attempt=jobs.c.attempt + 1,
                    worker=worker,
                    lease_until=epoch_now() + lease_s,
                    started_at=epoch_now(),
                    progress=0.0,
                )
                .returning(jobs)
            ).one_or_none()
        return _job(row) if row is not None else None

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
        # A report of nothing still asks whether the job is ours, and an UPDATE must set something.
        values: dict[str, Any] = {"attempt": held.attempt}
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
            return self._finish(connection, held, JobStatus.FAILED, error=asdict(error))

    def cancel_held(self, held: Job) -> bool:
        """Finish a job that was being canceled; False when this attempt does not hold it."""
        with self._database.writing() as connection:
            return self._finish(connection, held, JobStatus.CANCELED)

    def hand_back(self, held: Job) -> bool:
        """Put a job this attempt holds back into the queue, to be sent again at once."""
        with self._database.writing() as connection:
            row = connection.execute(
                _move(held.id, JobStatus.QUEUED, *_held(held))
                .values(lease_until=None, worker=None, sent_at=None)
                .returning(jobs.c.id)
            )
            return row.one_or_none() is not None

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
            .where(jobs.c.status.in_(OWNED), jobs.c.lease_until < epoch_now())
            .order_by(jobs.c.lease_until)
            .limit(limit)
        )

    def check(self) -> None:
        """Raises Unavailable when the database does not answer."""
        self._database.check()

    def _by_idempotency_key(self, new: NewJob) -> Job | None:
        with self._database.reading() as connection:
            row = connection.execute(
                select(jobs).where(
                    jobs.c.owner_id == new.owner_id,
                    jobs.c.idempotency_key == new.idempotency_key,
                )
            ).one_or_none()
        return _job(row) if row is not None else None

    def _all(self, query: Select[Any]) -> Sequence[Job]:
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def _finish(self, connection: Connection, held: Job, status: JobStatus, **values: Any) -> bool:
        row = connection.execute(
            _move(held.id, status, *_held(held))
            .values(finished_at=epoch_now(), lease_until=None, **values)
            .returning(jobs.c.id)
        )
        return row.one_or_none() is not None


def _move(job_id: str, to: JobStatus, *conditions: ColumnElement[bool]) -> Any:
    return (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(sorted(states_before(to))), *conditions)
        .values(status=to)
    )


def _held(job: Job) -> tuple[ColumnElement[bool], ...]:
    return (jobs.c.id == job.id, jobs.c.attempt == job.attempt, jobs.c.status.in_(OWNED))


def _chunks(ids: Iterable[str]) -> Iterable[Sequence[str]]:
    ordered = list(ids)
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))


def _request_to_json(request: ImageRequest) -> dict[str, Any]:
    return {**asdict(request), "size": str(request.size) if request.size else None}


def _request_from_json(data: Mapping[str, Any]) -> ImageRequest:
    return ImageRequest(
        **{
            **data,
            "operation": Operation(data["operation"]),
            "size": Size.parse(data["size"]) if data["size"] else None,
        }
    )


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        owner_id=row.owner_id,
        status=JobStatus(row.status),
        engine=row.engine,
        model=row.model,
        request=_request_from_json(row.request),
        warnings=tuple(row.warnings),
        metadata=row.metadata,
        attempt=row.attempt,
        worker=row.worker,
        lease_until=row.lease_until,
        upstream_id=row.upstream_id,
        progress=float(row.progress),
        error=JobError(**row.error) if row.error else None,
        request_id=row.request_id,
        idempotency_key=row.idempotency_key,
        request_hash=row.request_hash,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
