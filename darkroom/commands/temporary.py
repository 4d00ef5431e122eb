"""A whole Darkroom for as long as one command takes, on this machine's own data folder."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from darkroom.client.finding import Server
from darkroom.errors import Unavailable
from darkroom.launcher import READY_LINE
from darkroom.processes import Program, darkroom, spawn
from darkroom.running import find_running
from darkroom.settings import PREFIX, load_client_settings


@contextmanager
def running_meanwhile(say: Callable[[str], None]) -> Iterator[Server]:
    """Runs `darkroom up` on a free port; pictures and jobs are kept in the data folder.

    What is not finished at the end goes on the next time one runs there. Raises Unavailable.
    """
    folder = load_client_settings().data_dir.absolute()
    say("Starting Darkroom …")
    process = spawn(
        Program(name="darkroom up", command=darkroom("up"), environment=_environment(folder)),
        stdout=subprocess.PIPE,
    )
    with process:
        output = cast("IO[bytes]", process.stdout)
        rest = threading.Thread(target=_drain, args=(output,), daemon=True)
        try:
            _await_ready(output, say)
            rest.start()
            running = find_running(folder)
            if running is None:
                raise Unavailable("`darkroom up` stopped as soon as it was ready.")
            yield Server(url=running.url, key=running.key)
        finally:
            process.terminate()
            # It stops its parts within the time it gives them.
            process.wait()
            if rest.is_alive():
                rest.join()


def _environment(folder: Path) -> dict[str, str | None]:
    """Settings that hold whatever ours are."""
    values = {"DATA_DIR": str(folder), "PORT": "0", "LOG_LEVEL": "error"}
    return {
        **{f"{PREFIX}{name}": value for name, value in values.items()},
        **{f"{PREFIX}{name}_FILE": None for name in values},
    }


def _await_ready(output: IO[bytes], say: Callable[[str], None]) -> None:
    """Returns once it is ready.

    A first start tells of the admin it made, and of a key that is shown this once.
    """
    for line in _until(output, READY_LINE):
        say(line)
    for line in _until(output, ""):
        say(line)


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
