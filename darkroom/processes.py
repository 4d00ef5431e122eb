"""Child processes that cannot outlive us, and what a process may hold open."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

PR_SET_PDEATHSIG = 1

#: glibc's option for the number of its heaps, and how many we let it have.
M_ARENA_MAX = -8
HEAPS = 2

#: Open files we ask for. Some systems would allow a billion, which slows programs that count.
OPEN_FILES = 65_536


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run, and how."""

    name: str
    command: Sequence[str]
    #: Added to our own environment; None takes a variable out of it.
    environment: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    #: File descriptors it gets besides the standard ones, under their own numbers.
    descriptors: tuple[int, ...] = ()
    #: How long it may take to stop after SIGTERM, in seconds.
    grace_s: float = 10.0


def darkroom(*arguments: str) -> list[str]:
    """The command line of one of our own commands, run by this very Python.

    `-P` keeps the current folder off the import path: it may hold an `api` of its own.
    """
    return [sys.executable, "-P", "-m", "darkroom", *arguments]


def spawn(program: Program, **options: Any) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own, so that a terminal's Ctrl-C does not reach it.

    On Linux it gets SIGTERM when the thread that called this ends, however it ends: call it from
    the main thread. `options` go to Popen. Raises OSError when it cannot be started.
    """
    passed_on = {**os.environ, **program.environment}
    return subprocess.Popen(  # noqa: S603 - programs are named in our own code
        program.command,
        env={name: value for name, value in passed_on.items() if value is not None},
        pass_fds=program.descriptors,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=tie_to_parent(signal.SIGTERM),
        **options,
    )


def signal_group(leader: int, number: signal.Signals) -> None:
    """Signal every process left of a spawned program; none is fine too."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        # macOS says "not permitted" of a group in which only zombies are left.
        return


def tie_to_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a child does right after the fork to get this signal when we end; None where it cannot.

    Everything is looked up before the fork; after it, only two system calls are made.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            # It died before it was tied to us.
            os._exit(1)

    return tie


def allow_open_files() -> None:
    """Every waiting caller costs a file; the default of many systems is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def share_heaps() -> None:
    """Let all threads of this process use the same few heaps; call it before there are any.

    glibc gives threads heaps of their own, and each keeps the room that a picture once took. Other
    libraries, which do not know the option, are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if sys.platform.startswith("linux") and mallopt is not None:
        mallopt(M_ARENA_MAX, HEAPS)
