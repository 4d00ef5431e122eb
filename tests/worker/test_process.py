"""One worker process: what it holds open does its part, and it ends when a part breaks."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from prometheus_client import CollectorRegistry

from darkroom import bus
from darkroom.domain import ImageRequest, Job, JobStatus, NewJob, Size
from darkroom.settings import Settings
from darkroom.watch.meters import meters
from storage import Storage, open_storage
from storage.backlog import Next
from tests.backends.choice import places, prepare
from tests.engines.servers.openai import OpenAIServer
from tests.worker.doubles import rest
from worker.process import WorkerProcess

PATIENCE_S = 30
ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", redis_url="redis://unused", lease_s=0.5, **places())


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    storage = open_storage(settings)
    prepare(storage.database)
    yield storage
    storage.close()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, broker: fakeredis.FakeRedis) -> fakeredis.FakeRedis:
    monkeypatch.setattr(bus, "connect", lambda settings: broker)
    return broker


@pytest.fixture
def sent() -> list[Next]:
    return []


@pytest.fixture
def process(
    settings: Settings, storage: Storage, broker: fakeredis.FakeRedis, sent: list[Next]
) -> Iterator[WorkerProcess]:
    process = WorkerProcess(settings, sent.append)
    yield process
    process.stop()


@pytest.fixture
def submit(storage: Storage) -> Callable[..., Job]:
    owner = storage.users.create(email="anna@example.org", name="Anna")

    def make(*, engine: str = "builtin") -> Job:
        job, _ = storage.jobs.submit(
            NewJob(
                owner_id=owner.id,
                engine=engine,
                model="placeholder",
                request=ImageRequest(prompt="a lighthouse", size=Size(64, 64)),
            )
        )
        return job

    return make


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    pause = threading.Event()
    for _ in range(PATIENCE_S * 50):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail("It never happened.")


def test_it_draws_with_the_engine_the_job_names(
    process: WorkerProcess, storage: Storage, submit: Callable[..., Job]
) -> None:
    job = submit()

    process.run_job(job.id)

    assert storage.jobs.get(job.id).status is JobStatus.SUCCEEDED
    (image,) = storage.images.of_job(job.id)
    assert (image.width, image.height) == (64, 64)


def test_the_end_of_a_job_is_published(
    process: WorkerProcess, submit: Callable[..., Job], broker: Any
) -> None:
    job = submit()
    listener = broker.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(bus.FINISHED)
    listener.get_message(timeout=1)

    process.run_job(job.id)

    message = listener.get_message(timeout=PATIENCE_S)
    assert message is not None
    assert message["data"] == job.id
    listener.close()


def test_a_job_ends_while_the_broker_is_away(
    process: WorkerProcess,
    storage: Storage,
    submit: Callable[..., Job],
    redis_server: fakeredis.FakeServer,
) -> None:
    job = submit()
    redis_server.connected = False

    process.run_job(job.id)

    assert storage.jobs.get(job.id).status is JobStatus.SUCCEEDED


def test_a_job_of_an_engine_nobody_installed_fails(
    process: WorkerProcess, storage: Storage, submit: Callable[..., Job]
) -> None:
    job = submit(engine="unheard-of")

    process.run_job(job.id)

    error = storage.jobs.get(job.id).error
    assert error is not None
    assert "unheard-of" in error.detail


@pytest.mark.usefixtures("broker")
def test_a_worker_with_another_secret_names_it_as_the_cause(
    settings: Settings, storage: Storage, submit: Callable[..., Job]
) -> None:
    storage.config.update({"IMAGES_OPENAI_API_KEY": "sk-1"})
    job = submit()
    other = replace(settings, secret_key="x" * 40)
    stranger = WorkerProcess(other, lambda job: None)

    stranger.run_job(job.id)

    error = storage.jobs.get(job.id).error
    assert error is not None
    assert (error.code, "DARKROOM_SECRET_KEY" in error.detail) == ("engine_misconfigured", True)
    stranger.stop()


def test_it_counts_as_living_until_it_stops(
    process: WorkerProcess, broker: fakeredis.FakeRedis, settings: Settings
) -> None:
    process.start()
    living = bus.living_workers(broker)

    process.stop()

    assert living == [f"{settings.worker_concurrency}@{process.name}"]
    assert bus.living_workers(broker) == []


def test_its_upkeep_sends_what_a_dead_worker_left(
    process: WorkerProcess, storage: Storage, submit: Callable[..., Job], sent: list[Next]
) -> None:
    job = submit()
    storage.attempts.claim(job.id, worker="dead", lease_s=-1)

    process.start()

    until(lambda: [each.id for each in sent] == [job.id])


def test_its_upkeep_never_repeats_what_an_unknown_engine_may_have_charged(
    process: WorkerProcess, storage: Storage, submit: Callable[..., Job], sent: list[Next]
) -> None:
    job = submit(engine="unheard-of")
    storage.attempts.claim(job.id, worker="dead", lease_s=-1)

    process.start()

    until(lambda: storage.jobs.get(job.id).status is JobStatus.FAILED)
    assert sent == []


def test_prometheus_sees_the_first_lease_that_is_lost(process: WorkerProcess) -> None:
    process.start()

    shown = CollectorRegistry()
    meters().add_to(shown)
    labels = {"engine": "comfyui", "outcome": "lease_lost"}
    assert shown.get_sample_value("darkroom_attempts_total", labels) == 0


def test_an_engine_that_only_edits_works_again_when_it_is_well(
    process: WorkerProcess, storage: Storage
) -> None:
    with OpenAIServer() as server:
        storage.config.update(
            {
                "IMAGES_EDIT_OPENAI_API_BASE_URL": server.url,
                "IMAGES_EDIT_OPENAI_API_KEY": server.key,
            }
        )
        rest(storage, "openai", is_over=True)

        process.start()

        until(lambda: not storage.health.ailments())


@pytest.mark.parametrize("part", ["Leases.beat", "Leases.look_for_cancels", "Upkeep.round"])
def test_a_process_of_which_a_part_breaks_ends(
    settings: Settings, storage: Storage, part: str
) -> None:
    program = """
import json, sys, threading, fakeredis
from pathlib import Path
from darkroom import bus
from darkroom.settings import Settings
from worker.process import Leases, Upkeep, WorkerProcess

def breaks(self):
    raise ZeroDivisionError

owner, name = sys.argv[2].split(".")
setattr({"Leases": Leases, "Upkeep": Upkeep}[owner], name, breaks)
bus.connect = lambda settings: fakeredis.FakeRedis(decode_responses=True)
places = json.loads(sys.argv[3])
settings = Settings(
    data_dir=Path(sys.argv[1]), redis_url="redis://unused", lease_s=0.5, **places
)
WorkerProcess(settings, print).start()
threading.Event().wait()
"""

    where = {
        name: getattr(settings, name) for name in ("database_url", "storage_url", "secret_key")
    }
    ended = subprocess.run(
        [sys.executable, "-c", program, str(settings.data_dir), part, json.dumps(where)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert ended.returncode == -signal.SIGTERM
    assert "ZeroDivisionError" in ended.stdout
