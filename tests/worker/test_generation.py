"""The story of one job, from its claim to its one end."""

from collections.abc import Callable, Iterator

import pytest

from darkroom.domain import GeneratedImage, Job, JobError, JobStatus
from darkroom.errors import (
    EngineBusy,
    EngineError,
    InvalidPicture,
    RequestRejected,
)
from engines.base import Engine, Task
from storage import Storage
from tests.worker.doubles import (
    IMPATIENT,
    ResumingEngine,
    Worker,
    a_picture,
    raising,
    returning,
)

Submit = Callable[..., Job]


def kinds(root: type[EngineError]) -> Iterator[type[EngineError]]:
    yield root
    for each in root.__subclasses__():
        yield from kinds(each)


def test_the_pictures_are_kept_in_order_with_their_seeds(storage: Storage, submit: Submit) -> None:
    pictures = [a_picture("red", seed=7), a_picture("blue", seed=2**40), a_picture("green")]
    worker = Worker(storage, returning(*pictures))

    job = worker.run(submit(count=3))

    assert job.status is JobStatus.SUCCEEDED
    assert worker.content(job) == [each.data for each in pictures]
    assert [each.seed for each in storage.images.of_job(job.id)] == [7, 2**40, None]


def test_the_engine_is_told_what_was_asked(storage: Storage, submit: Submit) -> None:
    worker = Worker(storage)
    job = submit(count=2)

    worker.run(job)

    assert worker.engine.tasks == [
        Task(job_id=job.id, model="m", request=job.request, timeout_s=60, attempt=1)
    ]


def test_a_job_that_someone_else_has_is_left_alone(storage: Storage, submit: Submit) -> None:
    job = submit()
    storage.attempts.claim(job.id, worker="w2", lease_s=30)
    worker = Worker(storage)

    worker.run(job)

    assert worker.engine.tasks == []
    assert worker.announced == []


def test_a_second_delivery_of_a_finished_job_does_nothing(storage: Storage, submit: Submit) -> None:
    worker = Worker(storage)
    job = worker.run(submit())

    assert worker.run(job) == job
    assert len(worker.engine.tasks) == 1
    assert len(worker.announced) == 1


def test_an_unknown_job_is_left_alone(storage: Storage, submit: Submit) -> None:
    worker = Worker(storage)

    worker.deliver("nope")

    assert worker.engine.tasks == []


def test_fewer_pictures_than_asked_are_kept_with_a_warning(
    storage: Storage, submit: Submit
) -> None:
    job = Worker(storage, returning(a_picture())).run(submit(count=3, warnings=("before",)))

    assert job.status is JobStatus.SUCCEEDED
    assert len(storage.images.of_job(job.id)) == 1
    assert job.warnings[0] == "before"
    assert "3 pictures were asked for, the engine made 1" in job.warnings[1]


def test_more_pictures_than_asked_are_not_kept(storage: Storage, submit: Submit) -> None:
    worker = Worker(storage, returning(a_picture("red"), a_picture("blue")))

    job = worker.run(submit(count=1))

    assert worker.content(job) == [a_picture("red").data]


@pytest.mark.parametrize("kind", list(kinds(EngineError)), ids=lambda each: each.__name__)
def test_the_reason_of_a_failure_is_recorded(
    storage: Storage, submit: Submit, kind: type[EngineError]
) -> None:
    worker = Worker(storage, raising(kind("No, and here is why.")), policy=IMPATIENT)

    job = worker.run(submit())

    assert job.status is JobStatus.FAILED
    assert job.error == JobError(
        code=kind.code, detail="No, and here is why.", retryable=kind.retryable
    )
    assert worker.announced == [job]


def test_what_the_engine_named_is_recorded(storage: Storage, submit: Submit) -> None:
    refusal = RequestRejected("No.", upstream_status=422, param="size")

    job = Worker(storage, raising(refusal)).run(submit())

    assert job.error == JobError(
        code="request_rejected", detail="No.", param="size", upstream_status=422
    )


def test_an_engine_that_is_not_to_be_had_fails_the_job(storage: Storage, submit: Submit) -> None:
    def engine_for(job: Job) -> Engine:
        raise EngineBusy("Not now.")

    job = Worker(storage, engine_for=engine_for, policy=IMPATIENT).run(submit())

    assert job.error == JobError(code="engine_busy", detail="Not now.", retryable=True)


def test_a_driver_that_breaks_fails_its_job_and_reaches_the_log(
    storage: Storage, submit: Submit
) -> None:
    job = submit()
    worker = Worker(storage, raising(ZeroDivisionError("in the driver")))

    with pytest.raises(ZeroDivisionError):
        worker.run(job)

    failed = storage.jobs.get(job.id)
    assert failed.error is not None
    assert failed.error.code == "engine_failed"
    assert "in the driver" not in failed.error.detail
    assert worker.announced == [failed]


def test_no_picture_is_a_failure(storage: Storage, submit: Submit) -> None:
    job = Worker(storage, returning(), policy=IMPATIENT).run(submit())

    assert job.error is not None
    assert job.error.code == "engine_failed"
    assert "without a picture" in job.error.detail


def test_bytes_that_are_no_picture_are_a_failure(storage: Storage, submit: Submit) -> None:
    worker = Worker(storage, returning(a_picture(), GeneratedImage(data=b"<html>")))

    job = worker.run(submit(count=2))

    assert job.error is not None
    assert job.error.code == InvalidPicture.code
    assert storage.files.keys() == []
    assert worker.announced == [job]


def test_who_follows_a_job_hears_that_it_runs(storage: Storage, submit: Submit) -> None:
    worker = Worker(storage)

    job = worker.run(submit())

    assert worker.changed == [job.id]


def test_a_slot_that_falls_free_asks_for_the_next_job(storage: Storage, submit: Submit) -> None:
    worker = Worker(storage)

    worker.run(submit())

    assert worker.topped_up == ["scripted"]


def test_a_message_that_came_too_early_lets_its_job_wait_again(
    storage: Storage, submit: Submit
) -> None:
    job, worker = submit(), Worker(storage, raising(EngineBusy("Not now.", retry_after_s=600)))
    storage.backlog.take("scripted", window=1)
    worker.deliver(job.id)
    early = Worker(storage)

    early.deliver(job.id)

    assert early.engine.tasks == []
    assert early.announced == []
    with storage.database.writing() as connection:
        connection.exec_driver_sql("UPDATE jobs SET not_before = 1000.0")
    assert [each.id for each in storage.backlog.take("scripted", window=1)] == [job.id]


def test_an_engine_that_resumes_is_told_the_run_of_the_attempt_before(
    storage: Storage, submit: Submit
) -> None:
    job = submit()
    held = storage.attempts.claim(job.id, worker="dead", lease_s=30)
    assert held is not None
    storage.attempts.note(held, upstream_id="run-7")
    storage.attempts.hand_back(held)
    worker = Worker(storage, ResumingEngine())

    worker.run(job)

    (task,) = worker.engine.tasks
    assert (task.attempt, task.upstream_id) == (2, "run-7")
