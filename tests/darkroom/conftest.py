"""What the tests of the shared parts share."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from darkroom.logs import OURS
from darkroom.settings import Settings
from darkroom.signals import Signals
from darkroom.supervision import Supervisor


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """Stops what a test leaves running."""
    with Signals() as signals:
        supervisor = Supervisor(signals)
        yield supervisor
        supervisor.stop()


@pytest.fixture(autouse=True)
def _logging_stays_as_it_is() -> Iterator[None]:
    loggers = [logging.getLogger(), *map(logging.getLogger, OURS)]
    before = [(each.handlers[:], each.level) for each in loggers]
    yield
    for each, (handlers, level) in zip(loggers, before, strict=True):
        each.handlers[:] = handlers
        each.setLevel(level)
    structlog.reset_defaults()
