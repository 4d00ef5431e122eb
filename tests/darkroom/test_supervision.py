"""Child processes: real ones, small."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from darkroom.processes import Program
from darkroom.supervision import Supervisor

#: Tells that it runs, and who it is, then lives until it is stopped; `STOPPING` runs on SIGTERM.
LIVES = """
import os, pathlib, signal, sys
def stop(*_):
    STOPPING
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
while True:
    signal.pause()
"""

#: Starts a child that does not stop, hands it a descriptor, and stops without it.
LEAVES_ONE = """
import signal, subprocess, sys
source, file, descriptor = sys.argv[1:]
command = [sys.executable, "-c", source.replace("STOPPING", "pass"), file]
subprocess.Popen(command, pass_fds=[int(descriptor)])
signal.pause()
"""

#: Starts a child as the launcher does.
LAUNCHES = """
import sys
from darkroom.processes import Program, spawn
command = [sys.executable, "-c", "import signal; signal.pause()"]
child = spawn(Program(name="child", command=command))
print("started", flush=True)
child.wait()
"""


def _program(
    name: str, source: str, *arguments: object, grace_s: float = 20, descriptor: int | None = None
) -> Program:
    return Program(
        name=name,
        command=[sys.executable, "-c", source, *map(str, arguments)],
        descriptors=() if descriptor is None else (descriptor,),
        grace_s=grace_s,
    )


def _tend_until(supervisor: Supervisor, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        supervisor.tend(0.02)


def _pid(file: Path) -> int:
    """The process that wrote the file; 0 while there is none."""
    return int(file.read_text() or 0) if file.exists() else 0


def test_a_child_that_dies_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    supervisor.start(_program("painter", LIVES.replace("STOPPING", "sys.exit()"), file))
    _tend_until(supervisor, lambda: _pid(file))
    first = _pid(file)

    with capture_logs() as logs:
        os.kill(first, signal.SIGKILL)
        _tend_until(supervisor, lambda: _pid(file) not in (0, first))

    assert supervisor.deaths() == {"painter": 1}
    (line,) = logs
    assert line["program"] == "painter"
    assert line["outcome"] == "signal 9 (Killed)"


def test_one_that_keeps_dying_is_started_ever_more_slowly(supervisor: Supervisor) -> None:
    with capture_logs() as logs:
        supervisor.start(_program("painter", "raise SystemExit(3)"))
        _tend_until(supervisor, lambda: len(logs) == 3)

    assert [line["delay_s"] for line in logs] == [0.5, 1.0, 2.0]
    assert {line["outcome"] for line in logs} == {"exit code 3"}


def test_a_program_that_cannot_be_started_is_tried_again(supervisor: Supervisor) -> None:
    with capture_logs() as logs:
        supervisor.start(Program(name="painter", command=["/no/such/program"]))
        _tend_until(supervisor, lambda: supervisor.deaths()["painter"] == 2)

    assert "No such file" in logs[0]["outcome"]


def test_the_last_started_is_stopped_first(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    for name in ("first", "second", "third"):
        say = f"open({str(order)!r}, 'a').write('{name} '); sys.exit()"
        supervisor.start(_program(name, LIVES.replace("STOPPING", say), tmp_path / name))
        _tend_until(supervisor, lambda file=tmp_path / name: _pid(file))  # type: ignore[misc]

    supervisor.stop()

    assert order.read_text() == "third second first "


def test_a_stubborn_child_is_killed_after_its_grace(supervisor: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    supervisor.start(_program("mule", LIVES.replace("STOPPING", "pass"), file, grace_s=0.2))
    _tend_until(supervisor, lambda: _pid(file))

    with capture_logs() as logs:
        supervisor.stop()

    assert not _is_alive(_pid(file))
    assert [line["program"] for line in logs] == ["mule"]


def test_a_second_stop_signal_hurries(supervisor: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    supervisor.start(_program("mule", LIVES.replace("STOPPING", "pass"), file, grace_s=600))
    _tend_until(supervisor, lambda: _pid(file))

    os.kill(os.getpid(), signal.SIGINT)
    _tend_until(supervisor, lambda: supervisor.stop_requested)
    os.kill(os.getpid(), signal.SIGTERM)
    supervisor.stop()

    assert not _is_alive(_pid(file))


def test_what_a_child_leaves_behind_is_cleared_away(supervisor: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    ours, theirs = os.pipe()
    supervisor.start(_program("parent", LEAVES_ONE, LIVES, file, theirs, descriptor=theirs))
    os.close(theirs)
    _tend_until(supervisor, lambda: _pid(file))

    supervisor.stop()

    # The pipe ends with the last process that has its other end.
    assert os.read(ours, 1) == b""
    os.close(ours)


def test_a_child_does_not_get_what_was_not_meant_for_it(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAKEN", "away")
    file = tmp_path / "environment"
    supervisor.start(
        Program(
            name="reader",
            command=[
                sys.executable,
                "-c",
                "import os, sys; open(sys.argv[1], 'w')"
                ".write(f\"{os.environ.get('TAKEN')} {os.environ.get('GIVEN')}\")",
                str(file),
            ],
            environment={"TAKEN": None, "GIVEN": "yes"},
        )
    )

    _tend_until(supervisor, lambda: file.exists() and file.read_text())
    assert file.read_text() == "None yes"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_a_killed_launcher_leaves_nothing_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", LAUNCHES], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"

        process.kill()

        # Both share the pipe: it ends when both are gone.
        process.communicate(timeout=30)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
