"""What every test of storage may ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.settings import Settings
from storage import Storage, open_storage
from tests.backends import choice


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """The URL of a database without a schema."""
    return choice.new_database() if choice.IS_SHARED else f"sqlite:///{tmp_path / 'darkroom.db'}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    usual = {
        "database_url": f"sqlite:///{tmp_path / 'darkroom.db'}",
        "storage_url": (tmp_path / "files").as_uri(),
        "secret_key": choice.SECRET,
    }
    return Settings(data_dir=tmp_path / "data", **usual | choice.places())


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    storage = open_storage(settings)
    choice.prepare(storage.database)
    yield storage
    storage.close()


@pytest.fixture
def owner_id(storage: Storage) -> str:
    return storage.users.create(email="anna@example.org", name="Anna").id
