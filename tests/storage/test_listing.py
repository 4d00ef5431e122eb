"""Lists of jobs and images, and the questions that are asked about many at once."""

import uuid

import pytest

from darkroom.domain import JobStatus
from darkroom.errors import NotFound
from storage import Storage
from tests.storage.builders import AN_ERROR, a_picture, encoded, queued, running, shown


def test_pages_of_jobs_are_complete_and_do_not_overlap(storage: Storage, owner_id: str) -> None:
    jobs = [queued(storage, owner_id) for _ in range(7)]

    seen: list[str] = []
    while page := storage.jobs.list(after=seen[-1] if seen else None, limit=3):
        seen += [each.id for each in page]

    assert len(seen) == len(jobs)
    assert set(seen) == {each.id for each in jobs}
    assert seen[0] == max(jobs, key=lambda each: (each.created_at, each.id)).id


def test_a_job_that_comes_in_between_shifts_no_page(storage: Storage, owner_id: str) -> None:
    jobs = [queued(storage, owner_id) for _ in range(4)]
    first = storage.jobs.list(limit=2)
    queued(storage, owner_id)

    second = storage.jobs.list(after=first[-1].id, limit=2)

    assert {each.id for each in [*first, *second]} == {each.id for each in jobs}


def test_jobs_are_listed_by_owner_and_state(storage: Storage, owner_id: str) -> None:
    other = storage.users.create(email="bert@example.org", name="Bert")
    waiting = queued(storage, owner_id)
    busy = running(storage, owner_id)
    theirs = queued(storage, other.id)

    assert {each.id for each in storage.jobs.list(owner_id=owner_id)} == {waiting.id, busy.id}
    assert [each.id for each in storage.jobs.list(owner_id=other.id)] == [theirs.id]
    found = storage.jobs.list(owner_id=owner_id, status=JobStatus.RUNNING)
    assert [each.id for each in found] == [busy.id]


def test_a_page_behind_a_job_of_someone_else_is_not_found(storage: Storage, owner_id: str) -> None:
    other = storage.users.create(email="bert@example.org", name="Bert")
    theirs = queued(storage, other.id)

    with pytest.raises(NotFound):
        storage.jobs.list(owner_id=owner_id, after=theirs.id)


def test_finished_jobs_are_told_from_many(storage: Storage, owner_id: str) -> None:
    waiting = queued(storage, owner_id)
    busy = running(storage, owner_id)
    failed = running(storage, owner_id)
    storage.attempts.fail(failed, AN_ERROR)
    unknown = [str(uuid.uuid4()) for _ in range(1200)]

    finished = storage.jobs.finished_among([*unknown, waiting.id, busy.id, failed.id])

    assert finished == {*unknown, failed.id}


def test_among_no_jobs_none_is_finished(storage: Storage) -> None:
    assert storage.jobs.finished_among([]) == set()
    assert storage.attempts.canceling_among([]) == set()


def test_pages_of_images_are_complete_and_do_not_overlap(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)
    images = shown(storage, job, *[a_picture()] * 5)

    seen: list[str] = []
    while page := storage.images.list(after=seen[-1] if seen else None, limit=2):
        seen += [each.id for each in page]

    assert len(seen) == len(images)
    assert set(seen) == {each.id for each in images}


def test_images_are_listed_by_what_they_belong_to(storage: Storage, owner_id: str) -> None:
    other = storage.users.create(email="bert@example.org", name="Bert")
    chat = {"chat_id": "c1", "message_id": "m1"}
    (linked,) = shown(storage, running(storage, owner_id, metadata=chat))
    (loose,) = shown(storage, running(storage, owner_id), a_picture(encoded(color="blue")))
    (theirs,) = shown(storage, running(storage, other.id))

    images = storage.images
    assert {each.id for each in images.list(owner_id=owner_id)} == {linked.id, loose.id}
    assert [each.id for each in images.list(chat_id="c1")] == [linked.id]
    assert [each.id for each in images.list(message_id="m1", owner_id=owner_id)] == [linked.id]
    assert [each.id for each in images.list(job_id=loose.job_id)] == [loose.id]
    assert [each.id for each in images.list(owner_id=other.id)] == [theirs.id]


def test_an_image_of_someone_else_is_not_found(storage: Storage, owner_id: str) -> None:
    (image,) = shown(storage, running(storage, owner_id))

    assert storage.images.get(image.id, owner_id=owner_id) == image
    with pytest.raises(NotFound):
        storage.images.get(image.id, owner_id="someone else")
