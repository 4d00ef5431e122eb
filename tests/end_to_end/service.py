"""A whole Darkroom as real processes, to be used and mistreated over HTTP and by signals."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import requests

#: How long a condition is waited for, in seconds. Generous: it only costs when a test fails.
PATIENCE_S = 60.0


def until(condition: Callable[[], Any], what: str, *, within_s: float = PATIENCE_S) -> Any:
    """The condition's value once it is true; fails when it never is."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        pause.wait(0.02)
    return value


class Service:
    """`darkroom up` in a folder of its own, on a free port. Settings go in by keyword."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.url = ""
        #: The admin's key; only the first start prints one.
        self.key = ""
        self._environment = {
            **os.environ,
            "DARKROOM_DATA_DIR": str(folder),
            "DARKROOM_PORT": "0",
            **{f"DARKROOM_{name.upper()}": str(value) for name, value in settings.items()},
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
        found: int = until(lambda: self._children().get(part), f"{part} runs")
        return found

    def kill(self, part: str) -> None:
        """SIGKILL, and return once it is gone."""
        pid = self.pid_of(part)
        os.kill(pid, signal.SIGKILL)
        until(lambda: self._children().get(part) != pid, f"{part} is gone")

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """A call as the admin."""
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        return requests.request(
            method, self.url + path, headers=headers, timeout=PATIENCE_S, **options
        )

    def generate(self, headers: dict[str, str] | None = None, **body: object) -> requests.Response:
        """Ask for a small picture."""
        return self.call(
            "POST",
            "/api/images/generations",
            json={"prompt": "a lighthouse", "size": "64x64"} | body,
            headers=headers or {},
        )

    def submit(self, **body: object) -> str:
        """Ask for a small picture without waiting; the job's id."""
        answer = self.generate({"Prefer": "respond-async"}, **body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> Any:
        return self.call("GET", f"/api/v1/jobs/{job_id}").json()

    def finished(self, job_id: str) -> Any:
        """The job, once it is finished."""
        return until(
            lambda: (
                job if (job := self.job(job_id))["status"] not in {"queued", "running"} else None
            ),
            f"job {job_id} is finished",
        )

    def stored_files(self) -> list[Path]:
        """Every picture file that is kept."""
        return [each for each in (self.folder / "files").rglob("*") if each.is_file()]

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
