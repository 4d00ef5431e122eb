"""A job ends when nobody wants it any more, and no attempt takes longer than it may."""

import time
from collections.abc import Callable

import pytest

from darkroom.domain import GeneratedImage, Job, JobStatus, Progress
from darkroom.errors import DeadlineExceeded
from engines.base import Task
from storage import Storage
from tests.worker.doubles import ScriptedEngine, Worker, draw

Submit = Callable[..., Job]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the worker's clock forward by so many seconds."""
    now = time.time()
    moved = [0.0]

    def forward(by_s: float) -> None:
        moved[0] += by_s

    monkeypatch.setattr(time, "time", lambda: now + moved[0])
    return forward


def test_a_job_stops_at_its_deadline(
    storage: Storage, submit: Submit, clock: Callable[[float], None]
) -> None:
    stopped: list[DeadlineExceeded] = []

    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        progress(0.1)
        clock(101)
        try:
            progress(0.2)
        except DeadlineExceeded as error:
            stopped.append(error)
            raise
        return draw(task, progress)

    worker = Worker(storage, ScriptedEngine(act))

    job = worker.run(submit(deadline=time.time() + 100))

    assert len(stopped) == 1
    assert job.error is not None
    assert (job.status, job.error.code) == (JobStatus.FAILED, "deadline_exceeded")
    assert worker.announced == [job]


def test_a_job_that_comes_after_its_deadline_is_never_drawn(
    storage: Storage, submit: Submit
) -> None:
    worker = Worker(storage)

    job = worker.run(submit(deadline=1000.0))

    assert worker.engine.tasks == []
    assert job.error is not None
    assert job.error.code == "deadline_exceeded"


def test_a_picture_that_is_ready_after_the_deadline_is_kept(
    storage: Storage, submit: Submit, clock: Callable[[float], None]
) -> None:
    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        clock(101)
        return draw(task, progress)

    job = Worker(storage, ScriptedEngine(act)).run(submit(deadline=time.time() + 100))

    assert job.status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("left_s", "timeout_s", "wanted_s"), [(None, 60, 60), (100, 60, 60), (40, 60, 40)]
)
@pytest.mark.usefixtures("clock")
def test_the_engine_has_until_the_deadline_and_no_longer_than_one_attempt_may_take(
    storage: Storage, submit: Submit, left_s: float | None, timeout_s: float, wanted_s: float
) -> None:
    worker = Worker(storage, timeout_s=timeout_s)

    worker.run(submit(deadline=None if left_s is None else time.time() + left_s))

    (task,) = worker.engine.tasks
    assert task.timeout_s == pytest.approx(wanted_s)
