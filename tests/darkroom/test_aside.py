"""Work done by a child: each test's process is one of its own, with a single thread."""

import subprocess
import sys

import pytest

HEAD = """
import os, signal, sys
from darkroom.aside import in_a_child
from darkroom.errors import NotFound, Unavailable
from darkroom.signals import STOP, Signals
"""


def _shown(source: str) -> list[str]:
    """What a program prints, line by line."""
    return subprocess.run(
        [sys.executable, "-c", HEAD + source],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()


def test_the_result_comes_back_and_what_it_took_does_not() -> None:
    assert _shown(
        """
def work(amount):
    import colorsys
    return colorsys.__name__, amount
print(*in_a_child(work, 7))
print("colorsys" in sys.modules)
"""
    ) == ["colorsys 7", "False"]


def test_what_it_raises_is_raised() -> None:
    assert _shown(
        """
def work():
    raise NotFound("No such thing.", param="name")
try:
    in_a_child(work)
except NotFound as error:
    print(error.detail, error.param)
"""
    ) == ["No such thing. name"]


def test_a_child_that_is_killed_is_told_of() -> None:
    assert _shown(
        """
def work():
    os.kill(os.getpid(), signal.SIGKILL)
try:
    in_a_child(work)
except Unavailable as error:
    print(error.detail)
"""
    ) == [
        "The process for `work` was killed before it was done: is there enough memory? Start again."
    ]


def test_a_stop_of_all_processes_is_heard_once_and_lets_it_finish() -> None:
    assert _shown(
        """
os.setpgid(0, 0)
def work():
    os.killpg(0, signal.SIGINT)
    return "done"
with Signals() as signals:
    print(in_a_child(work))
    heard = signals.wait(0)
print(sum(each in STOP for each in heard))
"""
    ) == ["done", "1"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_it_does_not_outlive_its_parent() -> None:
    source = """
def work():
    print("begun", flush=True)
    signal.pause()
in_a_child(work)
"""
    with subprocess.Popen([sys.executable, "-c", HEAD + source], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"

        process.kill()

        # Both share the pipe: it ends when both are gone.
        process.communicate(timeout=30)
