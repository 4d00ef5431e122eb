"""Attempts: what a worker does with the jobs it holds.

A worker takes a job by claiming it, and the attempt's number is its fencing token: every later
write names it. A worker whose lease ran out, and whose job went on without it, changes nothing.
Each attempt is kept as a row of its own, with what came of it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    bindparam,
    delete,
    exists,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from darkroom.domain import Attempt, ImageRequest, Job, JobError, JobStatus, Operation, Usage
from darkroom.errors import LeaseLost
from darkroom.pools import PoolOf, single
from darkroom.watch.meters import meters
from storage.database import Database, epoch_now, hold
from storage.images import KeptPicture, insert_images
from storage.placing import choose, take_turn
from storage.records import job_of, request_to_json
from storage.tables import LONGEST_UPSTREAM_ID, attempts, engine_health, file_claims, jobs
from storage.texts import cleaned
from storage.transitions import OWNED, STILL_OWNED, chunks, locked, move

log = structlog.get_logger(__name__)

#: What an attempt came to when it was stopped on purpose, or nobody knows.
HANDED_BACK = "handed_back"
LEASE_LOST = "lease_lost"


# The statements of every job are built once, because building one takes longer than running it.

#: The fence of a held job, as `_fence` fills it in.
HELD_ID = bindparam("held_id", type_=jobs.c.id.type)
HELD_ATTEMPT = bindparam("held_attempt", type_=jobs.c.attempt.type)

CLAIMED_ID = bindparam("claimed_id", type_=jobs.c.id.type)

#: What decides whether a job is to be had, and to which server it goes.
_PLACED_BY: Sequence[ColumnElement[Any]] = (
    jobs.c.engine,
    jobs.c.model,
    jobs.c.request["operation"].as_string().label("operation"),
    jobs.c.server,
    jobs.c.upstream_id,
    jobs.c.avoided,
    exists()
    .where(engine_health.c.engine == jobs.c.engine, engine_health.c.rests_until.is_not(None))
    .label("rests"),
)
_IS_DUE = or_(jobs.c.not_before.is_(None), jobs.c.not_before <= epoch_now())
WANTED = select(*_PLACED_BY).where(
    jobs.c.id == CLAIMED_ID, jobs.c.status == JobStatus.QUEUED, _IS_DUE
)
CLAIM = (
    move(
        CLAIMED_ID,
        JobStatus.RUNNING,
        _IS_DUE,
        jobs.c.engine == bindparam("claimed_engine", type_=jobs.c.engine.type),
    )
    .values(
        attempt=jobs.c.attempt + 1,
        lease_until=epoch_now() + bindparam("lasts_s", type_=Double()),
        started_at=epoch_now(),
        not_before=None,
        progress=0.0,
    )
    .returning(jobs)
)
BEGIN_ATTEMPT = insert(attempts)
END_ATTEMPT = (
    update(attempts)
    .where(attempts.c.job_id == HELD_ID, attempts.c.number == HELD_ATTEMPT)
    .values(ended_at=epoch_now())
)
DROP_CLAIMS = delete(file_claims).where(
    file_claims.c.job_id == HELD_ID, file_claims.c.attempt == HELD_ATTEMPT
)


class Attempts:
    """Workers' hold on jobs, and the record of it."""

    def __init__(self, database: Database, *conditions: ColumnElement[bool]) -> None:
        self._database = database
        #: What must be true of a job for a write to it: it is held, and what else was named.
        self._held = (
            jobs.c.id == HELD_ID,
            jobs.c.attempt == HELD_ATTEMPT,
            STILL_OWNED,
            *conditions,
        )
        self._note = update(jobs).where(*self._held).values(revision=jobs.c.revision + 1)
        self._end = {
            status: move(HELD_ID, status, *self._held)
            .values(finished_at=epoch_now(), lease_until=None)
            .returning(jobs.c.id)
            for status in JobStatus
            if status.is_finished
        }

    def claim(
        self, job_id: str, *, worker: str, lease_s: float, pool_of: PoolOf = single
    ) -> Job | None:
        """Take a queued job for `lease_s` seconds, and choose the server of its engine that is to
        draw it. None when it is not to be had: somebody else has it, it is not due yet, or all
        servers rest or have as many jobs as they take.

        The returned job's `attempt` is the fencing token for every later write.
        """
        with self._database.writing() as connection:
            wanted = connection.execute(WANTED, {"claimed_id": job_id}).one_or_none()
            if wanted is None:
                return None
            pool = pool_of(wanted.engine, Operation(wanted.operation))
            if pool.is_counted:
                # Two who count at the same moment would both find room for the last one.
                hold(connection, literal(wanted.engine))
            choice = choose(connection, pool, wanted)
            if choice is None:
                return None
            forgotten = {} if choice.goes_on else {"upstream_id": None}
            row = connection.execute(
                CLAIM,
                {
                    "claimed_id": job_id,
                    "claimed_engine": wanted.engine,
                    "worker": worker,
                    "lasts_s": lease_s,
                    "server": choice.server,
                    **forgotten,
                },
            ).one_or_none()
            if row is None:
                return None
            if pool.has_choice and choice.server is not None:
                take_turn(connection, row.engine, choice.server)
            connection.execute(
                BEGIN_ATTEMPT,
                {
                    "job_id": row.id,
                    "number": row.attempt,
                    "engine": row.engine,
                    "model": row.model,
                    "worker": worker,
                    "server": choice.server,
                    "started_at": row.started_at,
                },
            )
            return job_of(row)

    def adopt(self, job_id: str, *, worker: str, lease_s: float) -> Job | None:
        """Take up a claim by this very worker that was committed and whose answer was lost; None
        when the job does not run there.

        Only the worker knows whether it works on the job already: it must not, or two would.
        """
        with self._database.writing() as connection:
            row = connection.execute(
                update(jobs)
                .where(
                    jobs.c.id == job_id,
                    jobs.c.worker == worker,
                    jobs.c.status == JobStatus.RUNNING,
                )
                .values(lease_until=epoch_now() + lease_s)
                .returning(jobs)
            ).one_or_none()
            return None if row is None else job_of(row)

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
                    jobs.c.id.in_(
                        locked(
                            tuple_(jobs.c.id, jobs.c.attempt).in_(list(held.items())),
                            jobs.c.worker == worker,
                            jobs.c.status.in_(OWNED),
                        )
                    )
                )
                .values(lease_until=epoch_now() + lease_s)
                .returning(jobs.c.id)
            )
            return set(rows.scalars())

    def canceling_among(self, job_ids: Collection[str]) -> set[str]:
        """Which of these jobs someone asked to cancel."""
        found: set[str] = set()
        for chunk in chunks(job_ids):
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
        """Keep what the engine reports; an upstream id only whole, or the run could not be found
        by it, and a share that is not a number tells nothing.

        Raises LeaseLost when the job is not ours any more.
        """
        values: dict[str, Any] = {}
        if progress is not None and not math.isnan(progress):
            values["progress"] = min(max(progress, 0.0), 1.0)
        if upstream_id is not None and _fits(upstream_id):
            values["upstream_id"] = upstream_id
        with self._database.writing() as connection:
            changed = connection.execute(self._note, {**_fence(held), **values}).rowcount
        if not changed:
            raise LeaseLost(f"Job {held.id} is not owned by attempt {held.attempt} any more.")

    def succeed(
        self,
        held: Job,
        pictures: Sequence[KeptPicture],
        *,
        warnings: Sequence[str],
        usage: Usage | None = None,
        cost: int | None = None,
    ) -> bool:
        """Finish a job with its pictures, and what they cost, all in one transaction.

        Returns False, and changes nothing, when the job is not held by this attempt any more.
        """
        with self._database.writing() as connection:
            told: dict[str, Any] = {"usage": asdict(usage)} if usage else {}
            finished = self._finish(
                connection,
                held,
                JobStatus.SUCCEEDED,
                progress=1.0,
                warnings=list(warnings),
                cost=cost,
                drawn=len(pictures),
                drawn_bytes=sum(each.picture.size_bytes for each in pictures),
                **told,
            )
            if finished:
                insert_images(connection, held, pictures)
                connection.execute(DROP_CLAIMS, _fence(held))
        return _counted(finished, held, JobStatus.SUCCEEDED)

    def fail(self, held: Job, error: JobError) -> bool:
        """Finish a job with an error; False when it is not held by this attempt any more."""
        with self._database.writing() as connection:
            finished = self._finish(
                connection,
                held,
                JobStatus.FAILED,
                outcome=error.code,
                detail=error.detail,
                error=asdict(error),
            )
        return _counted(finished, held, error.code)

    def cancel_held(self, held: Job) -> bool:
        """Finish a job that was being canceled; False when this attempt does not hold it."""
        with self._database.writing() as connection:
            finished = self._finish(connection, held, JobStatus.CANCELED)
        return _counted(finished, held, JobStatus.CANCELED)

    def hand_back(
        self,
        held: Job,
        *,
        outcome: str = HANDED_BACK,
        detail: str | None = None,
        delay_s: float = 0.0,
        is_run_over: bool = False,
        avoided: Sequence[str] = (),
    ) -> bool:
        """Let a job this attempt holds wait again, for another attempt after `delay_s`.

        That one begins anew when the run is over upstream, and may go on with it otherwise. It
        goes to one of the servers `avoided` only when there is no other.
        False when it is not held by this attempt any more, or is being canceled.
        """
        forgotten = {"upstream_id": None} if is_run_over else {}
        with self._database.writing() as connection:
            waits = self._requeue(
                connection,
                held,
                outcome,
                detail,
                delay_s=delay_s,
                avoided=list(avoided) or None,
                **forgotten,
            )
        return _counted(waits, held, outcome, ends=False)

    def reroute(
        self,
        held: Job,
        error: JobError,
        *,
        engine: str,
        model: str,
        request: ImageRequest,
        warning: str,
        estimated_cost: int | None = None,
    ) -> bool:
        """Let a job wait again, for another model; the warning tells its owner. False as above."""
        with self._database.writing() as connection:
            waits = self._requeue(
                connection,
                held,
                error.code,
                error.detail,
                engine=engine,
                model=model,
                request=request_to_json(request),
                warnings=[*held.warnings, warning],
                upstream_id=None,
                estimated_cost=estimated_cost,
                server=None,
                avoided=None,
            )
        return _counted(waits, held, error.code, ends=False)

    def with_expired_lease(self, *, limit: int = 100) -> Sequence[Job]:
        """Jobs whose worker gave no sign of life for longer than its lease."""
        query = (
            select(jobs)
            .where(STILL_OWNED, jobs.c.lease_until < epoch_now())
            .order_by(jobs.c.lease_until)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def if_expired(self) -> "Attempts":
        """The same for whoever found jobs with an expired lease: a write changes nothing, and
        says so, when the worker has renewed its lease since."""
        return Attempts(self._database, jobs.c.lease_until < epoch_now())

    def of_job(self, job_id: str) -> Sequence[Attempt]:
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
                    server=row.server,
                    started_at=row.started_at,
                    ended_at=row.ended_at,
                    outcome=row.outcome,
                    detail=row.detail,
                )
                for row in rows
            ]

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
        row = connection.execute(self._end[status], {**_fence(held), **values}).one_or_none()
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
            move(HELD_ID, JobStatus.QUEUED, *self._held)
            .values(
                lease_until=None,
                worker=None,
                sent_at=None,
                not_before=epoch_now() + delay_s if delay_s else None,
                **values,
            )
            .returning(jobs.c.id),
            _fence(held),
        ).one_or_none()
        if row is None:
            return False
        _end_attempt(connection, held, outcome, detail)
        return True


def _fence(held: Job) -> dict[str, Any]:
    return {"held_id": held.id, "held_attempt": held.attempt}


def _counted(changed: bool, held: Job, outcome: str, *, ends: bool = True) -> bool:
    """Count the end of an attempt, once it is written, and of the job when it `ends` too."""
    if changed:
        meters().attempt_ended(held.engine, outcome)
        if ends:
            meters().jobs_ended(held.engine, outcome)
    return changed


def _fits(upstream_id: str) -> bool:
    fits = len(upstream_id) <= LONGEST_UPSTREAM_ID and upstream_id == cleaned(upstream_id)
    if not fits:
        log.warning("upstream id not noted", length=len(upstream_id), most=LONGEST_UPSTREAM_ID)
    return fits


def _end_attempt(connection: Connection, held: Job, outcome: str, detail: str | None) -> None:
    connection.execute(END_ATTEMPT, {**_fence(held), "outcome": outcome, "detail": detail})
