"""Inputs: the pictures that jobs work on, kept as long as a job may need them.

Their files are in the store before the job is accepted, and a row for each holds them there. The
rows name the id the job will have, so that those of a call that died half way are found by it. What
the items of a batch work on is held under the batch's id until they are jobs.
"""

import time
from collections.abc import Collection

import structlog
from sqlalchemy import delete, exists, literal, or_, select, tuple_

from darkroom.domain import ImageRequest, InputImage, JobStatus, Size
from darkroom.errors import EngineFailed, FileStoreUnavailable, NotFound
from storage.contents import Contents, key_of
from storage.database import Database, epoch_now, upsert
from storage.files import Files
from storage.inspection import inspect
from storage.tables import batches, files, job_inputs, jobs

log = structlog.get_logger(__name__)

#: How long the pictures of a failed or canceled job are kept, so that it can be retried.
RETRYABLE_FOR_S = 7 * 24 * 3600.0

#: How long a call may take from its first picture to its job.
ACCEPTED_WITHIN_S = 3600.0


class Inputs:
    """Keeps the pictures that jobs work on, and lets go of them."""

    def __init__(self, database: Database, store: Files) -> None:
        self._database = database
        self._contents = Contents(store)
        #: The last one that was let go of, or tried, while there are more behind it.
        self._released: tuple[str, str] | None = None

    def keep(self, job_id: str, pictures: Collection[InputImage]) -> None:
        """Hold pictures for the job that will have this id. Raises Unavailable."""
        by_key = {key_of(each.data): each.data for each in pictures}
        with self._database.writing() as connection:
            for key in sorted(by_key):
                self._contents.lock(connection, key)
                connection.execute(
                    upsert(connection, job_inputs)
                    .values(job_id=job_id, file_key=key, created_at=epoch_now())
                    .on_conflict_do_nothing()
                )
        for key, data in by_key.items():
            self._contents.put(key, data)

    def share(self, request: ImageRequest, holder_id: str, job_id: str) -> bool:
        """Hold a job's pictures, which `holder_id` holds, for another one as well; False when they
        are not kept any more."""
        keys = keys_of(request)
        if not keys:
            return True
        with self._database.writing() as connection:
            # Locked before they are looked for: nobody lets go of them in between. Only rows that
            # are there: a new one would name a file that is not.
            connection.execute(
                select(files.c.key)
                .where(files.c.key.in_(sorted(keys)))
                .order_by(files.c.key)
                .with_for_update()
            ).all()
            held = select(job_inputs.c.file_key).where(job_inputs.c.job_id == holder_id)
            if not keys <= set(connection.scalars(held)):
                return False
            for key in sorted(keys):
                connection.execute(
                    upsert(connection, job_inputs)
                    .values(job_id=job_id, file_key=key, created_at=epoch_now())
                    .on_conflict_do_nothing()
                )
        return True

    def load(self, request: ImageRequest) -> tuple[tuple[InputImage, ...], bytes | None]:
        """The pictures a request is about, and its mask.

        Raises EngineFailed when one is gone, Unavailable when the store does not answer.
        """
        pictures = [self._read(each) for each in request.images]
        mask = None if request.mask is None else self._read(request.mask).data
        return tuple(pictures), mask

    def release(self, *, within_s: float = 2.0, most: int = 100) -> None:
        """Let go of pictures that no job will need, for about so long and at most so many.

        Called again, it goes on behind the last one; after the end it begins anew.
        """
        until = time.monotonic() + within_s
        ended = (JobStatus.FAILED, JobStatus.CANCELED)
        # Its items may become jobs yet, or be retried.
        held_by_batch = exists().where(
            batches.c.id == job_inputs.c.job_id,
            batches.c.planted < batches.c.total,
            or_(
                batches.c.cancel_requested_at.is_(None),
                batches.c.cancel_requested_at > epoch_now() - RETRYABLE_FOR_S,
            ),
        )
        query = (
            select(job_inputs.c.job_id, job_inputs.c.file_key)
            .outerjoin(jobs, jobs.c.id == job_inputs.c.job_id)
            .where(
                or_(
                    jobs.c.status == JobStatus.SUCCEEDED,
                    jobs.c.status.in_(ended) & (jobs.c.finished_at < epoch_now() - RETRYABLE_FOR_S),
                    jobs.c.id.is_(None)
                    & (job_inputs.c.created_at < epoch_now() - ACCEPTED_WITHIN_S)
                    & ~held_by_batch,
                )
            )
            .order_by(job_inputs.c.job_id, job_inputs.c.file_key)
            .limit(most)
        )
        if self._released is not None:
            # Those that cannot be deleted would come again and again, before all others.
            place = tuple_(job_inputs.c.job_id, job_inputs.c.file_key)
            query = query.where(place > tuple_(*map(literal, self._released)))
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        for job_id, key in rows:
            if time.monotonic() > until:
                return
            self._released = (job_id, key)
            try:
                self._release(job_id, key)
            except FileStoreUnavailable as error:
                # One file that cannot be deleted must not keep the others.
                log.warning("input not deleted", job_id=job_id, reason=error.detail)
        if len(rows) < most:
            self._released = None

    def _release(self, job_id: str, key: str) -> None:
        with self._database.writing() as connection:
            connection.execute(
                delete(job_inputs).where(
                    job_inputs.c.job_id == job_id, job_inputs.c.file_key == key
                )
            )
            self._contents.remove_unused(connection, key)

    def _read(self, key: str) -> InputImage:
        try:
            with self._contents.open(key) as file:
                data = file.read()
        except NotFound as error:
            raise EngineFailed(
                "A picture this job works on is not kept any more: send the request again."
            ) from error
        found = inspect(data)
        return InputImage(
            data=data, content_type=found.content_type, size=Size(found.width, found.height)
        )


def keys_of(request: ImageRequest) -> set[str]:
    """The files that a request names."""
    return {*request.images, *(() if request.mask is None else (request.mask,))}
