"""Stand-ins for the tests of the worker: an engine on a script, and storage that goes away."""

import io
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import fakeredis
from PIL import Image
from sqlalchemy import Connection

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, Job, Operation, Progress
from darkroom.errors import FileStoreUnavailable, Misconfigured, Unavailable
from darkroom.pools import PoolOf, single
from darkroom.settings import Settings
from engines.base import Engine, Task
from engines.catalog import Catalog
from engines.registry import Engines, Registry
from storage import Storage
from storage.backlog import Next
from storage.database import Database
from storage.files import Files
from storage.health import FAILURES_TO_REST
from worker.aftermath import Aftermath
from worker.fallback import Fallbacks
from worker.generation import Studio, run_job
from worker.leases import Leases
from worker.outcomes import Policy
from worker.upkeep import LOCK, Upkeep

Act = Callable[[Task, Progress], list[GeneratedImage]]


def a_picture(color: str = "red", *, seed: int | None = None) -> GeneratedImage:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), color).save(buffer, "PNG")
    return GeneratedImage(data=buffer.getvalue(), seed=seed)


def draw(task: Task, progress: Progress) -> list[GeneratedImage]:
    """What a well-behaved engine does."""
    colors = itertools.cycle(("red", "green", "blue"))
    return [a_picture(next(colors), seed=number) for number in range(task.request.count)]


class ScriptedEngine(Engine):
    """Does what its script says, and keeps what it was asked. Free of charge."""

    paid: ClassVar[bool] = False

    def __init__(self, act: Act = draw) -> None:
        super().__init__(EngineConfig(name="scripted"), Catalog())
        self.tasks: list[Task] = []
        self._act = act

    def check(self) -> str:
        return "The script is ready."

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        self.tasks.append(task)
        return self._act(task, progress)


class PaidEngine(ScriptedEngine):
    paid: ClassVar[bool] = True


class ResumingEngine(PaidEngine):
    resumes: ClassVar[bool] = True


#: Every engine that has a driver here, by its name.
DRIVERS: Mapping[str, type[Engine]] = {
    "scripted": ScriptedEngine,
    "paid": PaidEngine,
    "resuming": ResumingEngine,
}


def driver(name: str) -> type[Engine]:
    if name not in DRIVERS:
        raise Misconfigured(f"No driver for engine {name!r} is installed.")
    return DRIVERS[name]


def raising(error: Exception) -> ScriptedEngine:
    """An engine that answers with this."""

    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        raise error

    return ScriptedEngine(act)


def returning(*pictures: GeneratedImage) -> ScriptedEngine:
    return ScriptedEngine(lambda task, progress: list(pictures))


class OutageDatabase(Database):
    """A database that does not answer while `is_away`."""

    is_away = False
    #: Whether it goes away right after the next write, before it answers.
    dies_next = False

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        self._answer()
        with super().reading() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self._answer()
        with super().writing() as connection:
            yield connection
        if self.dies_next:
            self.dies_next, self.is_away = False, True
            self._answer()

    def _answer(self) -> None:
        if self.is_away:
            raise Unavailable("The database is away.")


class OutageFiles(Files):
    """A file store that keeps and forgets nothing while `is_away`."""

    is_away = False
    #: The key of a picture that it never forgets.
    undeletable: str | None = None

    def put(self, key: str, data: bytes) -> None:
        if self.is_away:
            raise FileStoreUnavailable("The file store is away.")
        super().put(key, data)

    def delete(self, key: str) -> None:
        if self.is_away or (self.undeletable and key.endswith(self.undeletable)):
            raise FileStoreUnavailable("The file store is away.")
        super().delete(key)


PATIENT = Policy(max_attempts=3, patience_s=3600, repeat_paid=False)
IMPATIENT = Policy(max_attempts=1, patience_s=0, repeat_paid=False)


def real_engines(operation: Operation) -> Engines:
    """What a fresh installation can draw with: the built-in engine."""
    registry = Registry(Catalog())
    return registry.engines(registry.configure({}, Settings()), operation)


def an_aftermath(
    storage: Storage,
    *,
    policy: Policy = PATIENT,
    fallbacks: Mapping[str, str] | None = None,
    pool_of: PoolOf = single,
) -> Aftermath:
    return Aftermath(
        storage=storage,
        policy=policy,
        fallbacks=Fallbacks(
            models=fallbacks or {},
            engines=real_engines,
            health=storage.health,
            limits=storage.users.limits_of,
        ),
        driver=driver,
        pool_of=pool_of,
    )


@dataclass
class Worker:
    """One worker process without Celery and without threads: its heart beats when told to."""

    storage: Storage
    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    name: str = "w1"
    lease_s: float = 30
    timeout_s: float = 60
    policy: Policy = PATIENT
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    #: The servers that jobs can go to.
    pool_of: PoolOf = single
    #: Called where the worker waits; returns whether the process stops.
    pause: Callable[[], bool] = lambda: True
    engine_for: Callable[[Job], Engine] | None = None
    #: Each job that was announced as finished, as the database had it at that moment.
    announced: list[Job] = field(default_factory=list)
    #: The ids of those that were announced as changed.
    changed: list[str] = field(default_factory=list)
    #: The engines for which there was room again.
    topped_up: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.leases = Leases(self.storage.attempts, worker=self.name, lease_s=self.lease_s)

    def run(self, job: Job) -> Job:
        """Run a job as its delivery by the queue would; returns it as it is then."""
        self.deliver(job.id)
        return self.storage.jobs.get(job.id)

    def deliver(self, job_id: str) -> None:
        studio = Studio(
            storage=self.storage,
            leases=self.leases,
            engine_for=self.engine_for or (lambda job: self.engine),
            announce=lambda job_id: self.announced.append(self.storage.jobs.get(job_id)),
            announce_change=self.changed.append,
            aftermath=an_aftermath(
                self.storage, policy=self.policy, fallbacks=self.fallbacks, pool_of=self.pool_of
            ),
            pools=lambda: self.pool_of,
            top_up=self.topped_up.append,
            timeout_s=self.timeout_s,
            pause=lambda seconds: self.pause(),
        )
        run_job(job_id, studio)

    def content(self, job: Job) -> list[bytes]:
        """The bytes of a job's images."""
        found = []
        for image in self.storage.images.of_job(job.id):
            with self.storage.gallery.open(image) as file:
                found.append(file.read())
        return found


@dataclass
class Queue:
    """Takes ids, unless the broker is away or it is full."""

    server: fakeredis.FakeServer
    sent: list[Next] = field(default_factory=list)
    room: int | None = None

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.sent]

    def send(self, job: Next) -> None:
        if not self.server.connected or self.room == 0:
            raise Unavailable("The broker is away.")
        if self.room is not None:
            self.room -= 1
        self.sent.append(job)


@dataclass
class Clock:
    """A wall clock that a test turns on."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


#: The pause between two rounds of upkeep, in seconds.
ROUND_EVERY_S = 2.0


@dataclass
class Caretaker:
    """One worker's upkeep, with all that it told."""

    upkeep: Upkeep
    server: fakeredis.FakeServer
    broker: fakeredis.FakeRedis
    announced: list[Job]
    changed: list[str]

    def round(self) -> None:
        """One round that no other worker is in the way of."""
        if self.server.connected:
            self.broker.delete(LOCK)
        self.upkeep.round()


def rest(storage: Storage, engine: str = "scripted", *, is_over: bool) -> None:
    for _ in range(FAILURES_TO_REST):
        storage.health.note_failure(engine, code="engine_unreachable", reason="Away.")
    if is_over:
        end_rest(storage)


def end_rest(storage: Storage) -> None:
    """As if so much time had passed."""
    with storage.database.writing() as connection:
        connection.exec_driver_sql("UPDATE engine_health SET rests_until = 1000.0")
