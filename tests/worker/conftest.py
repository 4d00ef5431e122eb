"""What every test of the worker may ask for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from darkroom.domain import ImageRequest, Job, NewJob
from darkroom.secrets import SecretBox
from storage import Storage
from storage.config import Config
from storage.gallery import Gallery
from storage.images import Images
from storage.jobs import Jobs
from storage.migrations import upgrade
from storage.users import Users
from tests.worker.doubles import OutageDatabase, OutageFiles
from worker import generation

Submit = Callable[..., Job]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[OutageDatabase]:
    database = OutageDatabase(f"sqlite:///{tmp_path / 'darkroom.db'}")
    upgrade(database)
    yield database
    database.close()


@pytest.fixture
def files(tmp_path: Path) -> OutageFiles:
    return OutageFiles((tmp_path / "files").as_uri())


@pytest.fixture
def storage(database: OutageDatabase, files: OutageFiles) -> Storage:
    return Storage(
        database=database,
        files=files,
        jobs=Jobs(database),
        images=Images(database),
        users=Users(database),
        config=Config(database, SecretBox("a secret"), {}),
        gallery=Gallery(database, files),
    )


@pytest.fixture
def submit(storage: Storage) -> Submit:
    """Accepts a job for `count` pictures."""
    owner = storage.users.create(email="anna@example.org", name="Anna")

    def make(*, engine: str = "scripted", count: int = 1, **rest: Any) -> Job:
        job, _ = storage.jobs.submit(
            NewJob(
                owner_id=owner.id,
                engine=engine,
                model="m",
                request=ImageRequest(prompt="a lighthouse", count=count),
                **rest,
            )
        )
        return job

    return make


@pytest.fixture
def redis_server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def broker(redis_server: fakeredis.FakeServer) -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(server=redis_server, decode_responses=True)


@pytest.fixture
def reports_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every report is noted, not just one a second."""
    monkeypatch.setattr(generation, "REPORT_EVERY_S", -1.0)
