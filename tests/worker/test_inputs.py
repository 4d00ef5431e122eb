"""The pictures a job works on reach its engine, and go when nobody needs them."""

from collections.abc import Callable
from typing import Any, BinaryIO

import pytest

from darkroom.domain import ImageRequest, InputImage, Job, JobStatus, NewJob, Operation, Size
from darkroom.errors import EngineBusy, Unavailable
from storage import Storage
from storage.contents import key_of
from storage.jobs import new_job_id
from tests.storage.builders import with_times
from tests.worker.doubles import (
    IMPATIENT,
    Caretaker,
    OutageFiles,
    Worker,
    a_picture,
    raising,
    returning,
)

Submit = Callable[..., Job]


def an_input(color: str) -> InputImage:
    return InputImage(data=a_picture(color).data, content_type="image/png", size=Size(32, 32))


RED, BLUE, MASK = an_input("red"), an_input("blue"), an_input("white")


@pytest.fixture
def submit_edit(storage: Storage) -> Submit:
    """Accepts an edit of the red and the blue picture with a mask."""
    owner = storage.users.create(email="bo@example.org", name="Bo")

    def make(**rest: Any) -> Job:
        job_id = new_job_id()
        storage.inputs.keep(job_id, [RED, BLUE, MASK])
        request = ImageRequest(
            prompt="add a boat",
            operation=Operation.EDIT,
            images=(key_of(RED.data), key_of(BLUE.data)),
            mask=key_of(MASK.data),
        )
        new = NewJob(owner_id=owner.id, engine="scripted", model="m", request=request, **rest)
        job, _ = storage.jobs.submit(new, job_id=job_id)
        return job

    return make


def files_of(storage: Storage) -> int:
    return len(storage.files.keys())


def test_the_engine_is_handed_pictures_and_mask(storage: Storage, submit_edit: Submit) -> None:
    worker = Worker(storage)

    job = worker.run(submit_edit())

    assert job.status is JobStatus.SUCCEEDED
    (task,) = worker.engine.tasks
    assert (task.images, task.mask) == ((RED, BLUE), MASK.data)


def test_another_attempt_is_handed_the_same(storage: Storage, submit_edit: Submit) -> None:
    job = Worker(storage, raising(EngineBusy("Not now."))).run(submit_edit())
    assert job.status is JobStatus.QUEUED
    with_times(storage, job, not_before=None)
    worker = Worker(storage)

    worker.run(job)

    assert worker.engine.tasks[0].images == (RED, BLUE)


def test_a_store_that_is_away_is_waited_for(
    storage: Storage, submit_edit: Submit, files: OutageFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit_edit()
    real = files.open
    is_away = True

    def opened(key: str) -> BinaryIO:
        if is_away:
            raise Unavailable("The file store is away.")
        return real(key)

    def come_back() -> bool:
        nonlocal is_away
        is_away = False
        return False

    monkeypatch.setattr(files, "open", opened)

    assert Worker(storage, pause=come_back).run(job).status is JobStatus.SUCCEEDED


def test_a_picture_that_is_gone_fails_the_job_before_its_engine_is_asked(
    storage: Storage, submit_edit: Submit
) -> None:
    job = submit_edit()
    for key in list(storage.files.keys()):
        storage.files.delete(key)
    worker = Worker(storage, policy=IMPATIENT)

    job = worker.run(job)

    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert "send the request again" in job.error.detail
    assert worker.engine.tasks == []


def test_upkeep_lets_go_of_what_a_finished_edit_worked_on(
    storage: Storage, submit_edit: Submit, caretaker: Caretaker
) -> None:
    job = Worker(storage).run(submit_edit())

    caretaker.round()

    assert files_of(storage) == len(storage.images.of_job(job.id)) == 1


def test_upkeep_leaves_what_waits_alone(
    storage: Storage, submit_edit: Submit, caretaker: Caretaker
) -> None:
    submit_edit()

    caretaker.round()

    assert files_of(storage) == 3


def test_files_that_cannot_be_deleted_wait_for_another_round(
    storage: Storage, submit_edit: Submit, caretaker: Caretaker, files: OutageFiles
) -> None:
    job = Worker(storage, returning(a_picture("green"))).run(submit_edit())
    files.is_away = True
    caretaker.round()
    assert files_of(storage) == 4

    files.is_away = False
    caretaker.round()

    assert files_of(storage) == len(storage.images.of_job(job.id)) == 1
