"""Ctrl-C while a command has its job drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom.commands.calling import Caller
from darkroom.commands.drawing import draw
from darkroom.commands.exits import INTERRUPTED


class CallerOf(Caller):
    """Someone whose server notes the jobs that are canceled."""

    canceled: list[str]

    @contextmanager
    def client(self) -> Iterator[Any]:
        self.canceled = []
        yield SimpleNamespace(cancel=lambda job: self.canceled.append(job.id))


def test_an_interruption_before_the_server_answered_cancels_the_job_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    caller = CallerOf(server=None, key=None, wants_json=False, may_start=False)
    keys: list[str] = []

    def submit(client: object, key: str) -> Any:
        keys.append(key)
        if len(keys) == 1:
            raise KeyboardInterrupt
        return SimpleNamespace(id="job-1")

    with pytest.raises(SystemExit) as ended:
        draw(caller, submit, tmp_path, preview=False)

    assert ended.value.code == INTERRUPTED
    assert caller.canceled == ["job-1"]
    assert "Canceled job job-1" in capsys.readouterr().err
    assert len(keys) == 2
    assert len(set(keys)) == 1
