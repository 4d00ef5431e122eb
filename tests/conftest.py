"""For every test: nothing that is configured on this machine reaches it; and in which order."""

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import structlog
from argon2 import PasswordHasher

from darkroom.configuration import FIELDS
from darkroom.settings import PREFIX
from tests.backends.choice import running_servers

ENGINE_VARIABLES = frozenset(name for each in FIELDS for name in (each.name, *each.fallbacks))


#: What the whole run shares: servers that tests run on.
SHARED = pytest.StashKey[ExitStack]()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX) or name.removesuffix("_FILE") in ENGINE_VARIABLES:
            monkeypatch.delenv(name)


#: The folders whose tests take longest, which go first: nothing long is left to the end then, with
#: one process at work and all others out of it.
LONG = ("end_to_end", "api")

#: The same among the files.
LONGEST = (
    "test_rolling_restart",
    "test_dockerfile",
    "test_batch_resumed",
    "test_openapi_contract",
    "test_command_line",
)


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    if not is_worker and not config.option.collectonly:
        config.stash[SHARED] = ExitStack()
        config.stash[SHARED].enter_context(running_servers())


def pytest_unconfigure(config: pytest.Config) -> None:
    if SHARED in config.stash:
        config.stash[SHARED].close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _turn(item.path))


def _turn(path: Path) -> tuple[int, int]:
    folders = [place for place, name in enumerate(LONG) if name in path.parts]
    files = [place for place, name in enumerate(LONGEST) if name == path.stem]
    return min(files, default=len(LONGEST)), min(folders, default=len(LONG))


def pytest_xdist_auto_num_workers() -> int:
    """More processes than cores, since many tests wait most of their time."""
    return (os.cpu_count() or 1) + 2


@pytest.fixture(autouse=True)
def _passwords_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing a password is slow on purpose, and says the same of one when it is quick."""
    quick = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("storage.users.PasswordHasher", quick)


@pytest.fixture(autouse=True)
def _no_ids_of_another_test() -> None:
    """What a request bound to the log lines of its thread stays there, as it does in a server until
    the next request."""
    structlog.contextvars.clear_contextvars()
