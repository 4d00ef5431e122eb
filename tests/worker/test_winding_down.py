"""A worker that must stop waits a while for its jobs, and hands back what is not finished."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import fakeredis
import pytest

import storage as storage_package
from darkroom import bus
from darkroom.domain import ImageRequest, Job, JobStatus, NewJob, Size
from darkroom.errors import Unavailable
from darkroom.settings import Settings
from engines.builtin import BuiltinEngine
from storage import Storage, open_storage
from tests.backends.choice import places, prepare
from tests.worker.doubles import OutageDatabase, OutageFiles
from worker.process import WorkerProcess

PATIENCE_S = 30
FOREVER_S = 3600.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, redis_url="redis://unused", **places())


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    storage = open_storage(settings)
    prepare(storage.database)
    yield storage
    storage.close()


@pytest.fixture
def employ(
    settings: Settings,
    storage: Storage,
    broker: fakeredis.FakeRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., WorkerProcess]]:
    """Makes a worker process, whose storage can go away while ours stays."""
    monkeypatch.setattr(bus, "connect", lambda settings: broker)
    monkeypatch.setattr(storage_package, "Database", OutageDatabase)
    monkeypatch.setattr(storage_package, "Files", OutageFiles)
    made: list[WorkerProcess] = []

    def make(*, latency_s: float = 0, stop_s: float = 0) -> WorkerProcess:
        own = replace(settings, builtin_latency_s=latency_s, stop_s=stop_s)
        made.append(WorkerProcess(own, lambda job: None))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def run(storage: Storage) -> Iterator[Callable[[WorkerProcess], tuple[Job, Future[None]]]]:
    """Has a worker run a job, in a thread like Celery's; returns once it runs or waits to."""
    owner = storage.users.create(email="anna@example.org", name="Anna")
    threads = ThreadPoolExecutor()

    def make(process: WorkerProcess) -> tuple[Job, Future[None]]:
        job, _ = storage.jobs.submit(
            NewJob(
                owner_id=owner.id,
                engine="builtin",
                model="placeholder",
                request=ImageRequest(prompt="a lighthouse", size=Size(64, 64)),
            )
        )
        return job, threads.submit(process.run_job, job.id)

    yield make
    threads.shutdown()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    pause = threading.Event()
    for _ in range(PATIENCE_S * 50):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail("It never happened.")


def status(storage: Storage, job: Job) -> JobStatus:
    return storage.jobs.get(job.id).status


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the engine is called."""
    called = threading.Event()
    draw = BuiltinEngine.generate

    def note_first(*arguments: object) -> object:
        called.set()
        return draw(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(BuiltinEngine, "generate", note_first)
    return called


Employ = Callable[..., WorkerProcess]
Run = Callable[[WorkerProcess], tuple[Job, "Future[None]"]]


def test_what_is_not_finished_in_time_is_handed_back(
    storage: Storage, employ: Employ, run: Run
) -> None:
    process = employ(latency_s=FOREVER_S)
    job, running = run(process)
    until(lambda: status(storage, job) is JobStatus.RUNNING)

    process.wind_down()

    running.result(PATIENCE_S)
    assert status(storage, job) is JobStatus.QUEUED
    (attempt,) = storage.attempts.of_job(job.id)
    assert (attempt.outcome, attempt.detail) == ("handed_back", "The worker was stopped.")


def test_a_paid_call_that_is_not_finished_in_time_is_not_repeated(
    storage: Storage,
    employ: Employ,
    run: Run,
    drawing: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BuiltinEngine, "paid", True)
    process = employ(latency_s=FOREVER_S)
    job, running = run(process)
    assert drawing.wait(PATIENCE_S)

    process.wind_down()

    running.result(PATIENCE_S)
    error = storage.jobs.get(job.id).error
    assert error is not None
    assert error.code == "outcome_unknown"


def test_what_is_finished_in_time_is_kept(
    storage: Storage, employ: Employ, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_finish = threading.Event()
    draw = BuiltinEngine.generate

    drawing = threading.Event()

    def wait_first(*arguments: object) -> object:
        drawing.set()
        assert may_finish.wait(PATIENCE_S)
        return draw(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(BuiltinEngine, "generate", wait_first)
    process = employ(stop_s=FOREVER_S)
    job, running = run(process)
    assert drawing.wait(PATIENCE_S)

    process.wind_down()
    may_finish.set()

    running.result(PATIENCE_S)
    assert status(storage, job) is JobStatus.SUCCEEDED


def test_a_job_that_comes_after_that_is_handed_back_too(
    storage: Storage, employ: Employ, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BuiltinEngine, "paid", True)
    process = employ()
    process.wind_down()
    until(lambda: "wind-down" not in {each.name for each in threading.enumerate()})

    job, running = run(process)

    running.result(PATIENCE_S)
    assert status(storage, job) is JobStatus.QUEUED
    (attempt,) = storage.attempts.of_job(job.id)
    assert (attempt.outcome, attempt.detail) == ("handed_back", "The worker was stopped.")


def test_a_job_that_waits_for_the_database_to_be_claimed_does_not_keep_the_worker(
    storage: Storage, employ: Employ, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = employ()
    monkeypatch.setattr(OutageDatabase, "is_away", True)
    job, waiting = run(process)

    process.wind_down()

    with pytest.raises(Unavailable):
        waiting.result(PATIENCE_S)
    assert status(storage, job) is JobStatus.QUEUED


def test_a_picture_that_waits_for_the_file_store_does_not_keep_the_worker(
    storage: Storage, employ: Employ, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = employ()
    monkeypatch.setattr(OutageFiles, "is_away", True)
    job, waiting = run(process)
    until(lambda: status(storage, job) is JobStatus.RUNNING)

    process.wind_down()

    waiting.result(PATIENCE_S)
    until(lambda: status(storage, job) is JobStatus.QUEUED)
