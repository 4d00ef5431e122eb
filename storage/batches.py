"""Batches: many requests that are accepted at once, and become jobs bit by bit.

Accepting writes one row for the batch and its items in chunks, in one short transaction. Planting
turns chunk after chunk into jobs; deleting a chunk and inserting its jobs is one transaction, so
that anybody may do it, at any time, and a process that dies leaves whole chunks.

Where a batch stands is never stored: it follows from its jobs and its chunks.
"""

import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from darkroom.domain import (
    Batch,
    BatchCosts,
    BatchCounts,
    BatchItem,
    Job,
    JobStatus,
    Lane,
    NewBatch,
)
from darkroom.errors import Conflict, NotFound, QuotaExceeded
from darkroom.watch.meters import meters
from storage.backlog import QUEUED
from storage.batch_costs import costs_of
from storage.batch_results import FINISHED, Results, jobs_in_order
from storage.chunks import Draft, unpacked
from storage.database import Database, epoch_now
from storage.planting import insert_jobs
from storage.replays import earlier_row
from storage.tables import batch_chunks, batches, job_inputs, jobs
from storage.tallies import Reservation
from storage.transitions import CHUNK, chunks, locked

# To the letter the conditions of partial indexes.
UNPLANTED: ColumnElement[bool] = literal_column("planted < total AND cancel_requested_at IS NULL")
CANCELED: ColumnElement[bool] = literal_column("cancel_requested_at IS NOT NULL")

#: Jobs in these states are not asked to stop yet.
STOPPABLE = (JobStatus.QUEUED, JobStatus.RUNNING)
UNFINISHED = tuple(each for each in JobStatus if not each.is_finished)

#: How many batches of the same request are looked at to find the one a repeated call is about.
MOST_ALIKE = 20

#: How long the cancel of a batch that was left half way is taken up, in seconds.
LEFT_FOR_S = 24 * 3600.0

#: From how many of its newest results the pace of a batch is told.
PACE_OF = 200


def new_batch_id() -> str:
    return str(uuid.uuid4())


class Batches:
    """All batches, accepted, planted and looked up."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(
        self,
        new: NewBatch,
        draft: Draft,
        *,
        batch_id: str,
        reservation: Reservation | None = None,
    ) -> tuple[Batch, bool]:
        """Accept a batch, whole. Returns it, and whether it is new.

        One that the owner submitted before with the same idempotency key is returned instead.
        Raises IdempotencyConflict when that one asked for something else, Conflict when pictures
        that its items work on are not held under its id, and QuotaExceeded when what all of it
        asks for cannot be reserved.
        """
        try:
            with self._database.writing() as connection:
                if reservation is not None:
                    reservation.make(connection)
                _check_held(connection, draft.file_keys, batch_id)
                row = connection.execute(
                    insert(batches)
                    .values(
                        id=batch_id,
                        owner_id=new.owner_id,
                        name=new.name,
                        metadata=dict(new.metadata),
                        request_id=new.request_id,
                        idempotency_key=new.idempotency_key,
                        request_hash=new.request_hash,
                        retry_of=new.retry_of,
                        total=draft.total,
                        planted=0,
                        created_at=epoch_now(),
                    )
                    .returning(batches)
                ).one()
                for chunk in draft.chunks():
                    connection.execute(
                        insert(batch_chunks).values(
                            batch_id=batch_id,
                            position=chunk.position,
                            packed=chunk.packed,
                            images=chunk.images,
                            cost=chunk.cost,
                            costs=list(chunk.costs),
                        )
                    )
                return _batch_of(row), True
        except (IntegrityError, QuotaExceeded):
            earlier = None
            if new.idempotency_key is not None:
                earlier = self.replayed(new.owner_id, new.idempotency_key, new.request_hash)
            if earlier is None:
                raise
            return earlier, False

    def replayed(
        self, owner_id: str, idempotency_key: str, request_hash: str | None
    ) -> Batch | None:
        """The batch that the owner submitted before with this key, if any.

        Raises IdempotencyConflict when that one asked for something else.
        """
        row = earlier_row(self._database, batches, owner_id, idempotency_key, request_hash)
        return None if row is None else _batch_of(row)

    def alike(self, owner_id: str, request_hash: str, *, within_s: float) -> Sequence[Batch]:
        """What the owner made of the same request at most so long ago, without an idempotency key;
        the newest first."""
        query = (
            select(batches)
            .where(
                batches.c.owner_id == owner_id,
                batches.c.created_at > epoch_now() - within_s,
                batches.c.request_hash == request_hash,
                batches.c.idempotency_key.is_(None),
            )
            .order_by(batches.c.created_at.desc())
            .limit(MOST_ALIKE)
        )
        with self._database.reading() as connection:
            return [_batch_of(row) for row in connection.execute(query)]

    def get(self, batch_id: str, *, owner_id: str | None = None) -> Batch:
        """One batch, of that owner if one is named. Raises NotFound."""
        query = select(batches).where(batches.c.id == batch_id)
        if owner_id is not None:
            query = query.where(batches.c.owner_id == owner_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"There is no batch {batch_id!r}.")
        return _batch_of(row)

    def list(
        self, *, owner_id: str | None = None, after: str | None = None, limit: int = 50
    ) -> Sequence[Batch]:
        """The newest batches first; `after` continues behind the batch of that id."""
        order = (batches.c.created_at, batches.c.id)
        query = select(batches).order_by(*(each.desc() for each in order)).limit(limit)
        if owner_id is not None:
            query = query.where(batches.c.owner_id == owner_id)
        if after is not None:
            last = self.get(after, owner_id=owner_id)
            query = query.where(tuple_(*order) < tuple_(last.created_at, last.id))
        with self._database.reading() as connection:
            return [_batch_of(row) for row in connection.execute(query)]

    def has_room_for(self, owner_id: str, *, most: int, more: int) -> bool:
        """Whether an owner may hand over so many more items when `most` may wait at once."""
        unplanted = select(func.coalesce(func.sum(batches.c.total - batches.c.planted), 0)).where(
            UNPLANTED, batches.c.owner_id == owner_id
        )
        planted = select(func.count()).where(
            QUEUED, jobs.c.owner_id == owner_id, jobs.c.batch_id.is_not(None)
        )
        # One statement: what becomes a job in between must not count twice.
        both = select(unplanted.scalar_subquery() + planted.scalar_subquery())
        with self._database.reading() as connection:
            waiting = connection.scalar(both) or 0
        return waiting + more <= most

    def unplanted(self) -> Sequence[str]:
        """The batches that have items to plant, oldest first."""
        query = select(batches.c.id).where(UNPLANTED).order_by(batches.c.created_at)
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def plant(self, batch_id: str) -> frozenset[str]:
        """Turn the first chunk of a batch into jobs. Returns the engines they are for; none when
        there is nothing left to plant, or the batch was canceled."""
        with self._database.writing() as connection:
            row = connection.execute(
                select(batches).where(UNPLANTED, batches.c.id == batch_id).with_for_update()
            ).one_or_none()
            if row is None:
                return frozenset()
            batch = _batch_of(row)
            first = (
                select(func.min(batch_chunks.c.position))
                .where(batch_chunks.c.batch_id == batch_id)
                .scalar_subquery()
            )
            chunk = connection.execute(
                delete(batch_chunks)
                .where(batch_chunks.c.batch_id == batch_id, batch_chunks.c.position == first)
                .returning(batch_chunks.c.packed, batch_chunks.c.costs)
            ).one()
            items = unpacked(chunk.packed, chunk.costs)
            insert_jobs(connection, batch, items)
            connection.execute(
                update(batches)
                .where(batches.c.id == batch_id)
                .values(planted=batches.c.planted + len(items))
            )
        for each in items:
            meters().jobs_accepted(each.engine, Lane.BATCH)
        return frozenset(each.engine for each in items)

    def counts(self, batch: Batch) -> BatchCounts:
        """How many items stand where now."""
        query = (
            select(jobs.c.status, func.count().label("held"))
            .where(jobs.c.batch_id == batch.id)
            .group_by(jobs.c.status)
        )
        with self._database.reading() as connection:
            held = {row.status: row.held for row in connection.execute(query)}
        # What is no job yet is what is left: read apart, the two would not add up.
        unplanted = batch.total - sum(held.values())
        was_canceled = batch.cancel_requested_at is not None
        return BatchCounts(
            queued=held.get(JobStatus.QUEUED, 0) + (0 if was_canceled else unplanted),
            running=held.get(JobStatus.RUNNING, 0) + held.get(JobStatus.CANCELING, 0),
            succeeded=held.get(JobStatus.SUCCEEDED, 0),
            failed=held.get(JobStatus.FAILED, 0),
            canceled=held.get(JobStatus.CANCELED, 0) + (unplanted if was_canceled else 0),
        )

    def costs(self, batch: Batch) -> BatchCosts:
        """What its items cost together, as far as that is known of all of them."""
        return costs_of(self._database, batch.id)

    def last_finish(self, batch: Batch) -> float | None:
        """When the newest of its finished jobs ended, if any did (Unix time, in seconds)."""
        query = select(func.max(jobs.c.finished_at)).where(FINISHED, jobs.c.batch_id == batch.id)
        with self._database.reading() as connection:
            newest: float | None = connection.scalar(query)
        return newest

    def pace(self, batch: Batch) -> float | None:
        """How many of its jobs ended per second lately; None before any did."""
        newest = (
            select(jobs.c.finished_at)
            .where(FINISHED, jobs.c.batch_id == batch.id)
            .order_by(jobs.c.finished_at.desc())
            .limit(PACE_OF)
            .subquery()
        )
        query = select(func.count(), epoch_now() - func.min(newest.c.finished_at))
        with self._database.reading() as connection:
            count, within_s = connection.execute(query.select_from(newest)).one()
        return count / within_s if count and within_s > 0 else None

    def results(self, batch: Batch) -> Results:
        """Its finished jobs, as far as they are, and more when asked again."""
        return Results(self._database, batch)

    def unsuccessful(self, batch: Batch) -> Iterator[Job]:
        """Its failed and canceled jobs, in the order of the batch."""
        query = (
            select(jobs.c.id)
            .where(
                jobs.c.batch_id == batch.id,
                jobs.c.status.in_([JobStatus.FAILED, JobStatus.CANCELED]),
            )
            .order_by(jobs.c.batch_position)
        )
        with self._database.reading() as connection:
            ids = connection.scalars(query).all()
        for some in chunks(ids):
            yield from jobs_in_order(self._database, some)

    def never_planted(self, batch: Batch) -> Iterator[BatchItem]:
        """The items that are no jobs, in the order of the batch."""
        query = select(batch_chunks).where(batch_chunks.c.batch_id == batch.id).limit(1)
        position = -1
        while True:
            behind = query.where(batch_chunks.c.position > position)
            with self._database.reading() as connection:
                row = connection.execute(behind.order_by(batch_chunks.c.position)).one_or_none()
            if row is None:
                return
            yield from unpacked(row.packed, row.costs)
            position = row.position

    def request_cancel(self, batch_id: str) -> Sequence[str]:
        """Cancel what has not begun, and ask the workers of the rest to stop.

        Returns the ids of the jobs that are asked to. A batch that is finished stays as it is. Who
        dies half way leaves the rest to `finish_canceling`.
        """
        unfinished = exists().where(jobs.c.batch_id == batch_id, jobs.c.status.in_(UNFINISHED))
        with self._database.writing() as connection:
            # Locked first, so that the jobs are seen that were planted until then.
            connection.execute(
                select(batches.c.id).where(batches.c.id == batch_id).with_for_update()
            )
            connection.execute(
                update(batches)
                .where(
                    batches.c.id == batch_id,
                    batches.c.cancel_requested_at.is_(None),
                    or_(batches.c.planted < batches.c.total, unfinished),
                )
                .values(cancel_requested_at=epoch_now())
            )
        # From here on nothing more is planted.
        asked: list[str] = []
        while True:
            count, running = self._cancel_some(batch_id)
            asked += running
            if count == 0:
                return asked

    def finish_canceling(self) -> Sequence[str]:
        """Cancel the jobs that those left who died while they canceled a batch.

        Returns the ids of the jobs that are asked to stop.
        """
        lately = batches.c.cancel_requested_at > epoch_now() - LEFT_FOR_S
        goes_on = exists().where(jobs.c.batch_id == batches.c.id, jobs.c.status.in_(STOPPABLE))
        with self._database.reading() as connection:
            ids = connection.scalars(select(batches.c.id).where(CANCELED, lately, goes_on)).all()
        return [job_id for each in ids for job_id in self.request_cancel(each)]

    def _cancel_some(self, batch_id: str) -> tuple[int, Sequence[str]]:
        """How many jobs changed, and which of them are to be stopped by their workers."""
        # Locked, so that a job handed back between the two changes is not missed by both.
        some = locked(jobs.c.batch_id == batch_id, jobs.c.status.in_(STOPPABLE)).limit(CHUNK)
        with self._database.writing() as connection:
            ids = connection.scalars(some).all()
            queued = _moved(ids, JobStatus.QUEUED, JobStatus.CANCELED)
            canceled = connection.scalars(
                queued.values(finished_at=epoch_now()).returning(jobs.c.engine)
            ).all()
            running = _moved(ids, JobStatus.RUNNING, JobStatus.CANCELING)
            asked = connection.scalars(running.returning(jobs.c.id)).all()
        for engine in canceled:
            meters().jobs_ended(engine, JobStatus.CANCELED)
        return len(ids), asked


def _check_held(connection: Connection, keys: Collection[str], batch_id: str) -> None:
    held = select(job_inputs.c.file_key).where(job_inputs.c.job_id == batch_id)
    if keys and not set(keys) <= set(connection.scalars(held)):
        raise Conflict("Pictures that the batch works on are not kept any more: send it again.")


def _moved(ids: Sequence[str], before: JobStatus, after: JobStatus) -> Any:
    return (
        update(jobs)
        .where(jobs.c.id.in_(ids), jobs.c.status == before)
        .values(status=after, revision=jobs.c.revision + 1)
    )


def _batch_of(row: Row[Any]) -> Batch:
    return Batch(**row._mapping)
