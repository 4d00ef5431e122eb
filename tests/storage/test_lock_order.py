"""Who changes several rows at once locks them in one order, or passes over what is locked.

Else PostgreSQL finds them waiting for each other in a circle, sooner or later, and fails one. Each
test holds the first row, and looks whether whoever waits for it holds the last one already.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Column, select, text

from darkroom.domain import ImageRequest, InputImage, Job, JobError, JobStatus, Operation, Size
from storage import Storage
from storage.batches import new_batch_id
from storage.contents import key_of
from storage.tables import files, jobs
from tests.backends.choice import only_shared
from tests.end_to_end.caller import until
from tests.storage.builders import (
    a_job,
    a_picture,
    accepted,
    an_item,
    claimed,
    encoded,
    planted,
    running,
    sent,
    status_of,
    with_times,
)

pytestmark = only_shared

FIRST, LAST = "00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"

#: Two pictures, and their keys, of which the second comes before the first.
PICTURES = sorted((encoded(color=each) for each in ("red", "blue")), key=key_of, reverse=True)
KEYS = [key_of(each) for each in PICTURES]


@contextmanager
def waiting_for(
    storage: Storage, row: Column[str], held: str, change: Callable[[], object]
) -> Iterator[Future[object]]:
    """While the block runs, `change` waits for a row that somebody else holds."""
    with ThreadPoolExecutor(1) as pool:
        with storage.database.writing() as holder:
            holder.execute(select(row).where(row == held).with_for_update())
            future = pool.submit(change)
            _until_it_waits(storage, future)
            yield future
        future.result(timeout=10)


def _until_it_waits(storage: Storage, change: Future[object]) -> None:
    waits = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with storage.database.reading() as connection:
        until(lambda: change.done() or connection.scalar(waits), "it waits for the row")
    assert not change.done(), "it waits for the row"


def assert_free(storage: Storage, row: Column[str], wanted: str) -> None:
    """Raises Unavailable when somebody else holds the row."""
    with storage.database.writing() as connection:
        query = select(row).where(row == wanted).with_for_update(nowait=True)
        assert connection.scalar(query) == wanted


def two_jobs(storage: Storage, owner_id: str) -> list[Job]:
    """The last one is older, and comes first in the table."""
    return [storage.jobs.submit(a_job(owner_id), job_id=each)[0] for each in (LAST, FIRST)]


def renew(storage: Storage, owner_id: str) -> Callable[[], object]:
    held = {each.id: claimed(storage, each).attempt for each in two_jobs(storage, owner_id)}
    return lambda: storage.attempts.renew("w1", held, lease_s=60)


def put_back(storage: Storage, owner_id: str) -> Callable[[], object]:
    two_jobs(storage, owner_id)
    ids = sent(storage)
    return lambda: storage.backlog.put_back(ids)


def put_back_all(storage: Storage, owner_id: str) -> Callable[[], object]:
    two_jobs(storage, owner_id)
    sent(storage)
    return storage.backlog.put_back_all


def put_back_lost(storage: Storage, owner_id: str) -> Callable[[], object]:
    two_jobs(storage, owner_id)
    sent(storage)
    return lambda: storage.backlog.put_back_lost("builtin", is_queue_empty=True, older_than_s=-1)


def expire(storage: Storage, owner_id: str) -> Callable[[], object]:
    for each in two_jobs(storage, owner_id):
        with_times(storage, each, deadline=1.0)
    return storage.jobs.expire


def give_up_waiting(storage: Storage, owner_id: str) -> Callable[[], object]:
    two_jobs(storage, owner_id)
    error = JobError(code="engine_failed", detail="Nobody draws with it.")
    return lambda: storage.jobs.give_up_waiting("builtin", error, after_s=-1)


@pytest.mark.parametrize(
    "prepared", [renew, put_back, put_back_all, put_back_lost, expire, give_up_waiting]
)
def test_who_changes_several_jobs_locks_the_first_one_first(
    storage: Storage, owner_id: str, prepared: Callable[[Storage, str], Callable[[], object]]
) -> None:
    change = prepared(storage, owner_id)

    with waiting_for(storage, jobs.c.id, FIRST, change):
        assert_free(storage, jobs.c.id, LAST)


def test_who_cancels_a_batch_locks_its_first_job_first(storage: Storage, owner_id: str) -> None:
    batch, of_batch = planted(storage, owner_id, 20)
    ids = sorted(each.id for each in of_batch)

    with waiting_for(storage, jobs.c.id, ids[0], lambda: storage.batches.request_cancel(batch.id)):
        assert_free(storage, jobs.c.id, ids[-1])

    assert {status_of(storage, each) for each in of_batch} == {JobStatus.CANCELED}


def test_who_takes_jobs_passes_over_those_that_somebody_is_changing(
    storage: Storage, owner_id: str
) -> None:
    two_jobs(storage, owner_id)

    with ThreadPoolExecutor(1) as pool, storage.database.writing() as holder:
        holder.execute(select(jobs.c.id).where(jobs.c.id == LAST).with_for_update())
        meanwhile = pool.submit(sent, storage).result(timeout=10)

    assert meanwhile == [FIRST]
    assert sent(storage) == [LAST]


def test_who_finishes_a_job_locks_its_first_file_first(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)
    kept = storage.gallery.keep(job, [a_picture(each) for each in PICTURES])
    finished = lambda: storage.attempts.succeed(job, kept, warnings=[])  # noqa: E731

    with waiting_for(storage, files.c.key, KEYS[-1], finished):
        assert_free(storage, files.c.key, KEYS[0])

    assert [each.file_key for each in storage.images.of_job(job.id)] == KEYS


def test_who_plants_a_batch_locks_its_first_file_first(storage: Storage, owner_id: str) -> None:
    batch_id = new_batch_id()
    size = Size(width=64, height=48)
    storage.inputs.keep(
        batch_id,
        [InputImage(data=each, content_type="image/png", size=size) for each in PICTURES],
    )
    edits = [
        an_item(
            line, request=ImageRequest(prompt="a boat", operation=Operation.EDIT, images=(key,))
        )
        for line, key in enumerate(KEYS, start=1)
    ]
    batch = accepted(storage, owner_id, *edits, batch_id=batch_id)

    with waiting_for(storage, files.c.key, KEYS[-1], lambda: storage.batches.plant(batch.id)):
        assert_free(storage, files.c.key, KEYS[0])
