"""What every test of storage may ask for: each runs on SQLite and on PostgreSQL."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from darkroom.settings import Settings
from storage import Storage, open_storage
from storage.migrations import upgrade
from tests.backends.postgresql import PostgreSQL, programs


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], str]]:
    """Makes an empty database and returns its URL."""
    if request.param == "sqlite":
        yield lambda: f"sqlite:///{tmp_path_factory.mktemp('database') / 'darkroom.db'}"
        return
    found = programs()
    if found is None:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up("There is no PostgreSQL server on this machine: install `postgresql`.")
    with PostgreSQL(found) as server:
        yield server.new_database


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        storage_url=(tmp_path / "files").as_uri(),
        secret_key="the secret of the tests, 32 chars",
    )


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    storage = open_storage(settings)
    upgrade(storage.database)
    yield storage
    storage.close()


@pytest.fixture
def owner_id(storage: Storage) -> str:
    return storage.users.create(email="anna@example.org", name="Anna").id
