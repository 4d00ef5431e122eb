"""Stand-ins for the tests of the worker: an engine on a script, and storage that goes away."""

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image
from sqlalchemy import Connection

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, Job, Progress
from darkroom.errors import Unavailable
from engines.base import Engine, Task
from engines.catalog import Catalog
from storage import Storage
from storage.database import Database
from storage.files import Files
from worker.generation import Studio, run_job
from worker.leases import Leases

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
    """Does what its script says, and keeps what it was asked."""

    def __init__(self, act: Act = draw) -> None:
        super().__init__(EngineConfig(name="scripted"), Catalog())
        self.tasks: list[Task] = []
        self._act = act

    def check(self) -> str:
        return "The script is ready."

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        self.tasks.append(task)
        return self._act(task, progress)


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

    def _answer(self) -> None:
        if self.is_away:
            raise Unavailable("The database is away.")


class OutageFiles(Files):
    """A file store that keeps nothing while `is_away`."""

    is_away = False

    def put(self, key: str, data: bytes) -> None:
        if self.is_away:
            raise Unavailable("The file store is away.")
        super().put(key, data)


@dataclass
class Worker:
    """One worker process without Celery and without threads: its heart beats when told to."""

    storage: Storage
    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    name: str = "w1"
    lease_s: float = 30
    #: Called where the worker waits; returns whether the process stops.
    pause: Callable[[], bool] = lambda: True
    engine_for: Callable[[Job], Engine] | None = None
    #: Each job that was announced, as the database had it at that moment.
    announced: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.leases = Leases(self.storage.jobs, worker=self.name, lease_s=self.lease_s)

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
            timeout_s=60,
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
