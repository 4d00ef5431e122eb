"""A whole Darkroom for as long as one command takes, on this machine's own data folder."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from darkroom.client.finding import Server
from darkroom.errors import Unavailable
from darkroom.launcher import READY_LINE
from darkroom.processes import Program, darkroom, spawn
from darkroom.running import find_running
from darkroom.settings import PREFIX, load_client_settings

#: How long everything may take to stop, in seconds.
STOP_WITHIN_S = 60.0


@contextmanager
def running_meanwhile(say: Callable[[str], None]) -> Iterator[Server]:
    """Runs `darkroom up` on a free port; pictures and jobs are kept in the data folder.

    What is not finished at the end goes on the next time one runs there. Raises Unavailable.
    """
    settings = load_client_settings()
    say("Starting Darkroom …")
    process = spawn(
        Program(
            name="darkroom up",
            command=darkroom("up"),
            environment={
                f"{PREFIX}DATA_DIR": str(settings.data_dir.absolute()),
                f"{PREFIX}PORT": "0",
                f"{PREFIX}LOG_LEVEL": "error",
            },
        ),
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            rest = _await_ready(process.stdout, say)
            running = find_running(settings.data_dir)
            if running is None:
                raise Unavailable("`darkroom up` stopped as soon as it was ready.")
            yield Server(url=running.url, key=running.key)
        finally:
            process.terminate()
            process.wait(STOP_WITHIN_S)
        rest.join(STOP_WITHIN_S)


def _await_ready(output: IO[bytes], say: Callable[[str], None]) -> threading.Thread:
    """Returns once it is ready, with the thread that reads what else it prints.

    A first start tells of the admin it made, and of a key that is shown this once.
    """
    for line in _until(output, READY_LINE):
        say(line)
    for line in _until(output, ""):
        say(line)
    rest = threading.Thread(target=_drain, args=(output,), daemon=True)
    rest.start()
    return rest


def _until(output: IO[bytes], start: str) -> Iterator[str]:
    """The lines before the one that starts so, or is empty. Raises Unavailable when none does."""
    for raw in output:
        line = raw.decode(errors="replace").rstrip("\n")
        if line == start or (start and line.startswith(start)):
            return
        yield line
    raise Unavailable("`darkroom up` ended before it was ready; what it printed above says why.")


def _drain(output: IO[bytes]) -> None:
    for _ in output:
        pass
