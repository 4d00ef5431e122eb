"""What every test of the worker may ask for."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fakeredis
import pytest

import storage as storage_package
from darkroom.domain import ImageRequest, Job, NewJob
from darkroom.queues import RedisQueues
from darkroom.settings import Settings
from engines.base import Engine
from storage import Storage, open_storage
from storage.retention import Limits
from tests.backends.choice import places, prepare
from tests.worker.doubles import (
    PATIENT,
    ROUND_EVERY_S,
    Caretaker,
    OutageDatabase,
    OutageFiles,
    Queue,
    ScriptedEngine,
    an_aftermath,
)
from worker import generation
from worker.dispatch import Dispatcher
from worker.outcomes import Policy
from worker.upkeep import Upkeep

Submit = Callable[..., Job]


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """Storage as every process opens it, whose database and file store can go away."""
    with monkeypatch.context() as opening:
        opening.setattr(storage_package, "Database", OutageDatabase)
        opening.setattr(storage_package, "Files", OutageFiles)
        storage = open_storage(Settings(data_dir=tmp_path, **places()))
    prepare(storage.database)
    yield storage
    storage.close()


@pytest.fixture
def database(storage: Storage) -> OutageDatabase:
    assert isinstance(storage.database, OutageDatabase)
    return storage.database


@pytest.fixture
def files(storage: Storage) -> OutageFiles:
    assert isinstance(storage.files, OutageFiles)
    return storage.files


@pytest.fixture
def submit(storage: Storage) -> Submit:
    """Accepts a job for `count` pictures."""
    owner = storage.users.create(email="anna@example.org", name="Anna")

    def make(*, count: int = 1, **rest: Any) -> Job:
        usual: dict[str, Any] = {
            "owner_id": owner.id,
            "engine": "scripted",
            "model": "m",
            "request": ImageRequest(prompt="a lighthouse", count=count),
        }
        job, _ = storage.jobs.submit(NewJob(**usual | rest))
        return job

    return make


@pytest.fixture
def redis_server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def broker(redis_server: fakeredis.FakeServer) -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(server=redis_server, decode_responses=True)


@pytest.fixture
def queue(redis_server: fakeredis.FakeServer) -> Queue:
    return Queue(redis_server)


@pytest.fixture
def dispatcher(storage: Storage, broker: fakeredis.FakeRedis, queue: Queue) -> Dispatcher:
    return Dispatcher(
        backlog=storage.backlog, broker=broker, queues=RedisQueues(broker), send=queue.send
    )


@pytest.fixture
def hire(
    storage: Storage,
    broker: fakeredis.FakeRedis,
    redis_server: fakeredis.FakeServer,
    dispatcher: Dispatcher,
) -> Callable[..., Caretaker]:
    """Makes the upkeep of one worker; without a `lease_s` it trusts all leases at once."""

    def make(
        *,
        lease_s: float = 0,
        policy: Policy = PATIENT,
        fallbacks: Mapping[str, str] | None = None,
        engine: Callable[[str], Engine] = lambda name: ScriptedEngine(),
        limits: Limits = Limits(days=None, mb_per_user=None),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.time,
    ) -> Caretaker:
        announced: list[Job] = []
        changed: list[str] = []
        upkeep = Upkeep(
            storage=storage,
            broker=broker,
            dispatcher=dispatcher,
            aftermath=an_aftermath(storage, policy=policy, fallbacks=fallbacks),
            engine=lambda name, server: engine(name),
            engine_names=lambda: ("builtin", "paid", "resuming", "scripted"),
            announce=lambda job_id: announced.append(storage.jobs.get(job_id)),
            announce_change=changed.append,
            worker="w2",
            lease_s=lease_s,
            limits=limits,
            every_s=ROUND_EVERY_S,
            clock=clock,
        )
        return Caretaker(upkeep, redis_server, broker, announced, changed)

    return make


@pytest.fixture
def caretaker(hire: Callable[..., Caretaker]) -> Caretaker:
    return hire()


@pytest.fixture
def lose(storage: Storage, submit: Submit) -> Callable[..., Job]:
    """A job that was sent, and whose worker died under it."""

    def make(*, attempts: int = 1, **rest: Any) -> Job:
        job = submit(**rest)
        for number in range(attempts):
            held = storage.attempts.claim(job.id, worker="dead", lease_s=-1)
            assert held is not None
            job = held
            if number + 1 < attempts:
                storage.attempts.hand_back(held, outcome="lease_lost")
        return job

    return make


@pytest.fixture
def reports_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every report is noted, not just one a second."""
    monkeypatch.setattr(generation, "REPORT_EVERY_S", -1.0)
