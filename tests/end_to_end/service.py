"""A whole Darkroom as real processes, to be used and mistreated over HTTP and by signals."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

from tests.end_to_end.caller import PATIENCE_S, Caller, until


class Service(Caller):
    """`darkroom up` in a folder of its own, on a free port. Settings go in by keyword."""

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder)
        self._environment = {
            **os.environ,
            "DARKROOM_DATA_DIR": str(folder),
            "DARKROOM_PORT": "0",
            **{
                f"DARKROOM_{name.upper()}": str(value)
                for name, value in (self.places | settings).items()
            },
        }
        self._output: list[str] = []
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once it is ready."""
        self._ready.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "darkroom", "up"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(PATIENCE_S), self.output
        assert self.url, self.output

    def stop(self) -> int:
        """Stop it as Ctrl-C or a service manager would; returns its exit code."""
        self._process.terminate()
        code = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """Everything it and its parts have printed so far."""
        return "".join(self._output)

    def pid_of(self, part: str) -> int:
        """The process of a part that runs right now: `serve`, `worker` or `valkey-server`."""
        return until(lambda: self._children().get(part), f"{part} runs")

    def kill(self, part: str) -> None:
        """SIGKILL, and return once it is gone."""
        pid = self.pid_of(part)
        os.kill(pid, signal.SIGKILL)
        until(lambda: self._children().get(part) != pid, f"{part} is gone")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._output.append(line)
            if match := re.search(r"ready at (http://\S+)", line):
                self.url = match[1]
            if match := re.search(r"API key: (\S+)", line):
                self.key = match[1]
            if "Content-Type: application/json" in line:
                # In the middle of the greeting, after the key.
                self._ready.set()
        self._ready.set()

    def _children(self) -> dict[str, int]:
        listing = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = {}
        for line in listing.splitlines():
            pid, parent, state, arguments = line.split(maxsplit=3)
            if int(parent) != self.pid or state.startswith("Z"):
                continue
            # The broker shows the path of its socket too, which may hold any word.
            if match := re.search(
                r"darkroom (serve|worker)\b|/(valkey-server|redis-server)\b", arguments
            ):
                found[match[1] or match[2]] = int(pid)
        return found
