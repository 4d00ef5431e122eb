"""A database or a file store that is away for a while costs time, and no picture."""

from collections.abc import Callable

import pytest

from darkroom.domain import GeneratedImage, Job, JobStatus, Progress
from darkroom.errors import (
    RequestRejected,
    Unavailable,
)
from engines.base import Engine, Task
from storage import Storage
from tests.worker.doubles import (
    OutageDatabase,
    OutageFiles,
    PaidEngine,
    ScriptedEngine,
    Worker,
    draw,
)

Submit = Callable[..., Job]


def test_a_picture_waits_for_the_database(
    storage: Storage, submit: Submit, database: OutageDatabase
) -> None:
    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        database.is_away = True
        return draw(task, progress)

    worker = Worker(storage, ScriptedEngine(act), pause=_back_after(3, database))

    job = worker.run(submit())

    assert job.status is JobStatus.SUCCEEDED
    assert len(worker.content(job)) == 1
    assert len(worker.engine.tasks) == 1
    assert worker.announced == [job]


def test_a_picture_waits_for_the_file_store(
    storage: Storage, submit: Submit, files: OutageFiles
) -> None:
    files.is_away = True
    worker = Worker(storage, pause=_back_after(3, files))

    job = worker.run(submit())

    assert job.status is JobStatus.SUCCEEDED
    assert len(worker.content(job)) == 1
    assert len(worker.engine.tasks) == 1
    assert worker.announced == [job]


def test_a_failure_waits_for_the_database(
    storage: Storage, submit: Submit, database: OutageDatabase
) -> None:
    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        database.is_away = True
        raise RequestRejected("No.")

    worker = Worker(storage, ScriptedEngine(act), pause=_back_after(3, database))

    job = worker.run(submit())

    assert job.status is JobStatus.FAILED
    assert worker.announced == [job]


def test_a_claim_waits_for_the_database(
    storage: Storage, submit: Submit, database: OutageDatabase
) -> None:
    job = submit()
    database.is_away = True
    worker = Worker(storage, pause=_back_after(3, database))

    assert worker.run(job).status is JobStatus.SUCCEEDED


def test_a_claim_whose_answer_was_lost_is_known_again(
    storage: Storage, submit: Submit, database: OutageDatabase
) -> None:
    job = submit(engine="paid")
    database.dies_next = True
    worker = Worker(storage, PaidEngine(), pause=_back_after(3, database))

    drawn = worker.run(job)

    assert (drawn.status, drawn.attempt) == (JobStatus.SUCCEEDED, 1)
    assert len(worker.engine.tasks) == 1


def test_what_another_worker_claimed_meanwhile_is_left_to_it(
    storage: Storage, submit: Submit, database: OutageDatabase
) -> None:
    job = submit()
    held = storage.attempts.claim(job.id, worker="w2", lease_s=30)
    database.is_away = True
    worker = Worker(storage, pause=_back_after(3, database))

    assert worker.run(job) == held

    assert worker.engine.tasks == []


def test_what_another_thread_claimed_is_left_to_it(
    storage: Storage, submit: Submit, database: OutageDatabase
) -> None:
    job = submit()
    worker = Worker(storage, pause=_back_after(3, database))

    with worker.leases.claiming(job.id) as claim:
        held = claim()
        database.is_away = True
        assert worker.run(job) == held

    assert worker.engine.tasks == []


def test_what_was_drawn_and_could_not_be_kept_is_not_taken_for_a_claim(
    storage: Storage, submit: Submit, database: OutageDatabase, files: OutageFiles
) -> None:
    files.is_away = True
    worker = Worker(storage, PaidEngine(), pause=lambda: True)
    job = worker.run(submit(engine="paid"))
    files.is_away = False
    database.is_away = True
    worker.pause = _back_after(3, database)

    assert worker.run(job) == job

    assert len(worker.engine.tasks) == 1


def test_the_configuration_waits_for_the_database(
    storage: Storage, submit: Submit, database: OutageDatabase
) -> None:
    outages = iter([True])

    def engine_for(job: Job) -> Engine:
        database.is_away = next(outages, database.is_away)
        storage.config.values()
        return worker.engine

    worker = Worker(storage, engine_for=engine_for, pause=_back_after(3, database))

    assert worker.run(submit()).status is JobStatus.SUCCEEDED


def test_a_job_that_could_not_be_claimed_goes_back_to_the_queue(
    storage: Storage, submit: Submit, database: OutageDatabase
) -> None:
    job = submit()
    database.is_away = True

    with pytest.raises(Unavailable):
        Worker(storage, pause=lambda: True).run(job)

    database.is_away = False
    assert storage.jobs.get(job.id) == job


def test_a_result_that_cannot_be_written_before_the_end_is_left_to_the_lease(
    storage: Storage, submit: Submit, files: OutageFiles
) -> None:
    files.is_away = True
    worker = Worker(storage, pause=lambda: True)

    job = worker.run(submit())

    assert job.status is JobStatus.RUNNING
    assert worker.announced == []


@pytest.mark.usefixtures("reports_at_once")
def test_a_report_that_is_not_noted_stops_nothing(
    storage: Storage, submit: Submit, database: OutageDatabase
) -> None:
    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        database.is_away = True
        progress(0.5)
        database.is_away = False
        return draw(task, progress)

    job = Worker(storage, ScriptedEngine(act)).run(submit())

    assert job.status is JobStatus.SUCCEEDED


def _back_after(pauses: int, part: OutageDatabase | OutageFiles) -> Callable[[], bool]:
    """The part of storage answers again after so many pauses; the process does not stop."""
    left = iter(range(pauses - 1, -1, -1))

    def pause() -> bool:
        part.is_away = next(left) > 0
        return False

    return pause
