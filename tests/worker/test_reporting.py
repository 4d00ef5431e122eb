"""What an engine reports is noted, but not each time; the end is announced once."""

from collections.abc import Callable

import pytest

from darkroom.domain import GeneratedImage, Job, JobStatus, Progress
from darkroom.errors import EngineBusy, EngineError, RequestRejected
from engines.base import Task
from storage import Storage
from tests.worker.doubles import (
    Caretaker,
    OutageDatabase,
    ScriptedEngine,
    Worker,
    a_picture,
    draw,
)
from worker import generation

Submit = Callable[..., Job]


@pytest.fixture
def _reports_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "REPORT_EVERY_S", 3600.0)


@pytest.mark.usefixtures("reports_at_once")
def test_progress_is_noted(storage: Storage, submit: Submit) -> None:
    seen = []

    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        progress(0.25)
        seen.append(storage.jobs.get(task.job_id).progress)
        return draw(task, progress)

    job = Worker(storage, ScriptedEngine(act)).run(submit())

    assert seen == [0.25]
    assert job.progress == 1.0


@pytest.mark.usefixtures("_reports_rarely")
def test_progress_is_not_noted_more_often_than_needed(storage: Storage, submit: Submit) -> None:
    seen = set()

    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        for step in range(100):
            progress(step / 100)
            seen.add(storage.jobs.get(task.job_id).progress)
        return draw(task, progress)

    Worker(storage, ScriptedEngine(act)).run(submit())

    assert seen == {0.0}


@pytest.mark.usefixtures("_reports_rarely")
def test_the_upstream_id_is_noted_at_once(storage: Storage, submit: Submit) -> None:
    seen = []

    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        progress(upstream_id="run-7")
        seen.append(storage.jobs.get(task.job_id).upstream_id)
        return draw(task, progress)

    Worker(storage, ScriptedEngine(act)).run(submit())

    assert seen == ["run-7"]


def test_the_end_is_announced_once_and_after_it_is_committed(
    storage: Storage, submit: Submit
) -> None:
    worker = Worker(storage)

    worker.run(submit())

    assert [each.status for each in worker.announced] == [JobStatus.SUCCEEDED]


@pytest.mark.usefixtures("_reports_rarely")
def test_an_upstream_id_that_could_not_be_noted_is_noted_later(
    storage: Storage, submit: Submit, database: OutageDatabase
) -> None:
    seen = []

    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        database.is_away = True
        progress(upstream_id="run-7")
        database.is_away = False
        progress(0.5, preview=a_picture().data)
        seen.append(storage.jobs.get(task.job_id).upstream_id)
        return draw(task, progress)

    Worker(storage, ScriptedEngine(act)).run(submit())

    assert seen == ["run-7"]


@pytest.mark.usefixtures("_reports_rarely")
def test_a_preview_is_shown_while_the_job_runs(storage: Storage, submit: Submit) -> None:
    preview, seen = a_picture("blue").data, []

    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        progress(0.5, preview=preview)
        with storage.gallery.open_preview(task.job_id) as file:
            seen.append(file.read())
        return draw(task, progress)

    worker = Worker(storage, ScriptedEngine(act))

    job = worker.run(submit())

    assert seen == [preview]
    assert not storage.gallery.has_preview(job.id)
    assert worker.changed == [job.id, job.id]


@pytest.mark.parametrize("error", [RequestRejected("No."), EngineBusy("Not now.")])
def test_a_preview_goes_with_its_attempt(
    storage: Storage, submit: Submit, error: EngineError
) -> None:
    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        progress(0.5, preview=a_picture().data)
        raise error

    job = Worker(storage, ScriptedEngine(act)).run(submit())

    assert not storage.gallery.has_preview(job.id)


def test_a_preview_of_a_dead_worker_goes_too(
    storage: Storage, hire: Callable[..., Caretaker], lose: Callable[..., Job]
) -> None:
    job = lose()
    storage.gallery.keep_preview(job.id, a_picture().data)

    hire().round()

    assert not storage.gallery.has_preview(job.id)
