"""A Darkroom in parts, as on several machines: broker, API and any number of workers.

Each part is a process of its own that a test starts, stops and kills when it likes. Nothing starts
a dead part again. The broker keeps nothing on disk: started again it is empty.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlsplit

import requests

from darkroom.domain import Attempt, Job
from darkroom.first_start import prepare
from darkroom.settings import Settings
from engines.ledger import Ledger, Run
from storage import Storage, open_storage
from tests.backends import choice
from tests.backends.ports import free_port
from tests.end_to_end.caller import PATIENCE_S, Caller, until


class Part:
    """One process of a Darkroom; what it prints goes to a file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: dict[str, str],
        log: Path,
        is_ready: Callable[["Part"], bool],
    ) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        """What it printed, in all its lives."""
        return self._log.read_text() if self._log.exists() else ""

    def start(self, *, wait: bool = True) -> None:
        """Start it; returns once it is ready, or at once."""
        assert not self.is_running
        with self._log.open("ab") as log:
            self._process = _spawn(self._command, self._environment, log)
        if wait:
            self.await_ready()

    def await_ready(self) -> None:
        until(lambda: not self.is_running or self._is_ready(self), "a part is ready")
        assert self.is_running, self.output[-4000:]

    def kill(self) -> None:
        """SIGKILL, with its own children; returns once it is gone."""
        if self.is_running:
            os.killpg(self.pid, signal.SIGKILL)
            assert self._process is not None
            self._process.wait(PATIENCE_S)

    def terminate(self) -> None:
        """Ask it to stop."""
        os.kill(self.pid, signal.SIGTERM)

    def freeze(self) -> None:
        """Let it do nothing, as when its machine sleeps, until it is thawed."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def exit_code(self) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait(PATIENCE_S)


class Cluster(Caller):
    """Broker, API and `workers` workers on one data folder. Settings go in by keyword.

    Of several APIs the first is called, unless a test sets another `url`, such as a proxy's. Inside
    the `with` block everything runs; at its end every process is killed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 1,
        apis: int = 1,
        broker_program: str | None = None,
        broker_options: Sequence[str] = (),
        **settings: object,
    ) -> None:
        super().__init__(folder)
        self.api_ports = [free_port() for _ in range(apis)]
        api_port, broker_port = self.api_ports[0], free_port()
        self.url = f"http://127.0.0.1:{api_port}"
        self.redis_url = redis_url = str(
            settings.get("redis_url", f"redis://127.0.0.1:{broker_port}/0")
        )
        self.ledger = Ledger(folder / "ledger")
        environment: dict[str, Any] = {
            "data_dir": folder / "data",
            "port": api_port,
            "redis_url": redis_url,
            "storage_url": (folder / "files").as_uri(),
            "secret_key": choice.SECRET,
            "builtin_ledger": folder / "ledger",
            "log_level": "warning",
            **self.places,
            **settings,
        }
        #: What every part runs with.
        self.environment = os.environ | {
            f"DARKROOM_{name.upper()}": str(value) for name, value in environment.items()
        }
        self.settings = Settings(
            data_dir=folder / "data",
            redis_url=redis_url,
            storage_url=str(environment["storage_url"]),
            secret_key=choice.SECRET,
            database_url=environment.get("database_url"),
            admin_email=environment.get("admin_email"),
            admin_password=environment.get("admin_password"),
        )
        self.broker = self.part(
            "broker",
            [
                broker_program or choice.redis_program(),
                *("--port", str(broker_port), "--bind", "127.0.0.1", "--save", ""),
                *("--appendonly", "no", "--dir", str(folder), *broker_options),
            ],
            lambda _: _accepts(urlsplit(redis_url).port or broker_port),
        )
        self.apis = [
            self.part(
                "api" if port == api_port else f"api-{port}",
                _darkroom("serve"),
                partial(_answers, f"http://127.0.0.1:{port}"),
                DARKROOM_PORT=str(port),
            )
            for port in self.api_ports
        ]
        self.api = self.apis[0]
        self.workers: list[Part] = []
        for _ in range(workers):
            self.add_worker()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            admin = prepare(self.settings)
            assert admin is not None
            self.key = admin.key
            #: The same database and files that the parts use.
            self.storage: Storage = open_storage(self.settings)
            self.broker.start()
            for part in (*self.apis, *self.workers):
                part.start(wait=False)
            for part in (*self.apis, *self.workers):
                part.await_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self.storage.close()
        if error is not None:
            for log in sorted(self.folder.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-6000:]}")

    def add_worker(self, *options: str, is_celerys: bool = False) -> Part:
        """One more worker, with these options of `darkroom worker` or of Celery's own; start it."""
        command = _darkroom("worker")
        if is_celerys:
            command = [sys.executable, "-P", "-m", "celery", "-A", "worker", "worker"]
        name = f"worker-{len(self.workers) + 1}"
        part = self.part(name, [*command, *options], _says_ready)
        self.workers.append(part)
        return part

    def add_user(self, name: str) -> tuple[str, dict[str, str]]:
        """Another user's id, and the headers to call as that user."""
        user = self.storage.users.create(
            email=f"{name}@example.org", name=name, permissions=["features.image_generation"]
        )
        _, key = self.storage.users.create_key(user.id, name="test")
        return user.id, {"Authorization": f"Bearer {key}"}

    def holder(self, job_id: str, attempt: int = 1) -> Part:
        """The worker that runs this attempt at the job, once one does."""
        return until(lambda: self._holder(job_id, attempt), f"attempt {attempt} of {job_id} runs")

    def await_upstream_id(self, job_id: str) -> None:
        until(lambda: self.storage.jobs.get(job_id).upstream_id, f"the run of {job_id} has an id")

    def attempts(self, job_id: str) -> Sequence[Attempt]:
        return self.storage.attempts.of_job(job_id)

    def runs(self) -> list[Run]:
        """Every call of the built-in engine."""
        return list(self.ledger.runs())

    def runs_begun(self) -> int:
        return sum(1 for _ in (self.folder / "ledger").glob("*.json"))

    def overtaken_by(self, job: Job) -> int:
        """How many runs of other jobs began while this one waited: a time, counted in turns, that
        is the same on every machine."""
        assert job.started_at is not None
        return sum(
            job.created_at < run.started_at < job.started_at
            for run in self.ledger.runs()
            if run.job_id != job.id
        )

    def finished_among(self, job_ids: Collection[str]) -> set[str]:
        return self.storage.jobs.finished_among(job_ids)

    def all_finished(self, job_ids: Collection[str], *, within_s: float = PATIENCE_S) -> list[Job]:
        """All these jobs, once they are finished."""
        until(
            lambda: self.finished_among(job_ids) == set(job_ids),
            f"{len(job_ids)} jobs are finished",
            within_s=within_s,
        )
        return [self.storage.jobs.get(each) for each in job_ids]

    def await_no_leftovers(self) -> None:
        """The store holds each picture's file once, and nothing else."""
        until(self._is_clean, f"only {len(self._expected_files())} pictures are in the store")

    def calls_by_job(self) -> Counter[str]:
        return Counter(run.job_id for run in self.ledger.runs())

    def part(
        self, name: str, command: Sequence[str], is_ready: Callable[[Part], bool], **variables: str
    ) -> Part:
        """Another process beside it, with the same settings; a `with` block starts and ends it."""
        log = self.folder / f"{name}.log"
        environment = self.environment | variables
        return Part(command, environment=environment, log=log, is_ready=is_ready)

    def _holder(self, job_id: str, attempt: int) -> Part | None:
        tries = self.attempts(job_id)
        if len(tries) < attempt or self.storage.jobs.get(job_id).attempt != attempt:
            return None
        pid = int(tries[attempt - 1].worker.split(":")[1])
        return next(each for each in self.workers if each.pid == pid)

    def _is_clean(self) -> bool:
        return sorted(self.stored_files()) == self._expected_files()

    def _expected_files(self) -> list[str]:
        return sorted({each.file_key for each in self.storage.images.list(limit=10_000)})

    def _end(self) -> None:
        for part in (*self.workers, *self.apis, self.broker):
            part.kill()


def _answers(url: str, _: Part) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        # It may listen already while its processes still load the application.
        return False


def _darkroom(command: str) -> list[str]:
    return [sys.executable, "-P", "-m", "darkroom", command]


def _spawn(
    command: Sequence[str], environment: dict[str, str], log: IO[bytes]
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _says_ready(worker: Part) -> bool:
    """Whether a worker said so in its present life; its name holds its process id."""
    return re.search(rf"ready as [^:]+:{worker.pid}:", worker.output) is not None


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True
