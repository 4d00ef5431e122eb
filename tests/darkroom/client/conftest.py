"""What the tests of the client share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.client import Client, Retries
from tests.darkroom.client.scripted import Scripted


@pytest.fixture(autouse=True)
def _at_home_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


@pytest.fixture
def client(server: Scripted) -> Iterator[Client]:
    with Client(
        server.origin, "dk_secret", timeout_s=5, retries=Retries(times=3, first_pause_s=0.01)
    ) as client:
        yield client
