"""Work stops when somebody cancels it or another worker has it, and leaves nothing behind."""

from collections.abc import Callable

import pytest

from darkroom.domain import GeneratedImage, Job, JobStatus, Progress
from darkroom.errors import (
    Canceled,
    EngineBusy,
    LeaseLost,
)
from engines.base import Task
from storage import Storage
from tests.worker.doubles import (
    PaidEngine,
    ScriptedEngine,
    Worker,
    a_picture,
    draw,
    returning,
)

Submit = Callable[..., Job]


def test_a_canceled_job_stops_at_its_next_report(storage: Storage, submit: Submit) -> None:
    stopped: list[Canceled] = []

    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        storage.jobs.request_cancel(task.job_id)
        worker.leases.look_for_cancels()
        try:
            progress(0.5)
        except Canceled as error:
            stopped.append(error)
            raise
        return draw(task, progress)

    worker = Worker(storage, ScriptedEngine(act))

    job = worker.run(submit())

    assert len(stopped) == 1
    assert job.status is JobStatus.CANCELED
    assert storage.files.keys() == []
    assert worker.announced == [job]


def test_a_job_canceled_while_it_waited_is_never_drawn(storage: Storage, submit: Submit) -> None:
    job = submit()
    storage.jobs.request_cancel(job.id)
    worker = Worker(storage)

    worker.run(job)

    assert worker.engine.tasks == []


def test_pictures_that_are_ready_before_the_cancel_arrives_are_kept(
    storage: Storage, submit: Submit
) -> None:
    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        storage.jobs.request_cancel(task.job_id)
        return draw(task, progress)

    job = Worker(storage, ScriptedEngine(act)).run(submit())

    assert job.status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("color", ["red", "blue"], ids=["same bytes", "other bytes"])
def test_a_late_result_is_dropped(storage: Storage, submit: Submit, color: str) -> None:
    winner = Worker(storage, returning(a_picture("red")), name="w2")

    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        _lose(storage, task.job_id)
        winner.run(storage.jobs.get(task.job_id))
        return [a_picture(color)]

    late = Worker(storage, ScriptedEngine(act))

    job = late.run(submit())

    assert job.status is JobStatus.SUCCEEDED
    assert late.content(job) == [a_picture("red").data]
    assert len(storage.files.keys()) == 1
    assert (len(winner.announced), len(late.announced)) == (1, 0)


def test_a_late_result_is_dropped_while_the_other_still_draws(
    storage: Storage, submit: Submit
) -> None:
    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        _lose(storage, task.job_id)
        storage.attempts.claim(task.job_id, worker="w2", lease_s=30)
        return [a_picture()]

    job = Worker(storage, ScriptedEngine(act)).run(submit())

    assert (job.status, job.worker) == (JobStatus.RUNNING, "w2")
    assert storage.files.keys() == []


def test_a_late_failure_is_dropped(storage: Storage, submit: Submit) -> None:
    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        _lose(storage, task.job_id)
        raise EngineBusy("Too late.")

    late = Worker(storage, ScriptedEngine(act))

    job = late.run(submit())

    assert job.status is JobStatus.QUEUED
    assert late.announced == []


def test_a_worker_that_lost_its_job_stops_at_its_next_report(
    storage: Storage, submit: Submit
) -> None:
    stopped: list[LeaseLost] = []

    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        _lose(storage, task.job_id)
        worker.leases.beat()
        try:
            progress(0.5)
        except LeaseLost as error:
            stopped.append(error)
            raise
        return draw(task, progress)

    worker = Worker(storage, ScriptedEngine(act))

    job = worker.run(submit())

    assert len(stopped) == 1
    assert job.status is JobStatus.QUEUED
    assert worker.announced == []


def test_a_job_claimed_after_the_worker_gave_up_its_jobs_is_handed_back_undrawn(
    storage: Storage, submit: Submit
) -> None:
    worker = Worker(storage, PaidEngine())
    worker.leases.close()

    job = worker.run(submit(engine="paid"))

    assert job.status is JobStatus.QUEUED
    assert worker.engine.tasks == []
    assert worker.announced == []
    assert worker.topped_up == ["paid"]


@pytest.mark.usefixtures("reports_at_once")
def test_a_report_finds_out_without_a_heartbeat(storage: Storage, submit: Submit) -> None:
    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        _lose(storage, task.job_id)
        progress()
        return draw(task, progress)

    job = Worker(storage, ScriptedEngine(act)).run(submit())

    assert job.status is JobStatus.QUEUED


def _lose(storage: Storage, job_id: str) -> None:
    """What the upkeep does with a job whose lease ran out."""
    assert storage.attempts.hand_back(storage.jobs.get(job_id))
