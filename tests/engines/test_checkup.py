"""What comes of asking engines whether they can be used."""

from importlib.metadata import EntryPoint

import pytest

from darkroom.domain import GeneratedImage, Operation, Progress
from darkroom.settings import Settings
from engines import registry
from engines.base import Engine, Task
from engines.catalog import Catalog
from engines.checkup import check_engines
from engines.registry import Registry


class BreakingEngine(Engine):
    """A driver from elsewhere with a bug."""

    operations = frozenset(Operation)

    def check(self) -> str:
        raise ZeroDivisionError("No reason.")

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        return []


def test_a_driver_that_breaks_is_a_finding_and_the_log_says_how(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    targets = {
        "builtin": "engines.builtin:BuiltinEngine",
        "other": f"{__name__}:BreakingEngine",
    }
    points = [EntryPoint(name, target, "darkroom.engines") for name, target in targets.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    drivers = Registry(Catalog())

    builtin, broken = check_engines(drivers, drivers.configure({}, Settings()))

    assert (builtin.engine, builtin.is_usable) == ("builtin", True)
    assert (broken.engine, broken.is_usable) == ("other", False)
    assert "'other' broke" in broken.detail
    assert "ZeroDivisionError: No reason." in caplog.text
