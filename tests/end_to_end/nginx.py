"""nginx with the very file of `deploy/nginx`, but for its names, addresses and folders."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from tests.backends.certificates import make_certificate
from tests.backends.ports import free_port
from tests.end_to_end.caller import PATIENCE_S, until

CONFIGURATION = Path(__file__).parents[2] / "deploy/nginx/darkroom.conf"

#: What Debian's own `nginx.conf` does around the files of its `conf.d`, in a folder of ours.
AROUND = """
{user}
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/darkroom.conf;
}}
"""


def program() -> str | None:
    """The server's program; Debian keeps it where only root looks."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


class Nginx:
    """Runs while the block does, before the APIs on these ports and the folder of their files."""

    def __init__(self, folder: Path, *, ports: Sequence[int], files: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._program = program() or ""
        self.url = f"https://127.0.0.1:{self._port}"
        folder.mkdir()
        #: The first is what it is to be trusted by.
        self.certificate, key = make_certificate(folder)
        first, second = ports
        text = CONFIGURATION.read_text()
        for there, here in (
            ("10.0.0.11:8787", f"127.0.0.1:{first}"),
            ("10.0.0.12:8787", f"127.0.0.1:{second}"),
            ("listen 80;", f"listen 127.0.0.1:{free_port()};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{self._port} ssl;"),
            ("/etc/ssl/certs/images.example.org.pem", str(self.certificate)),
            ("/etc/ssl/private/images.example.org.key", str(key)),
            ("/srv/darkroom/files/", f"{files}/"),
        ):
            assert text.count(there) == 1, there
            text = text.replace(there, here)
        (folder / "darkroom.conf").write_text(text)
        # As root it would give its processes to an account that must not read a test's folder.
        user = "user root;" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user=user))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [
                *(self._program, "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")),
                *("-e", str(self._folder / "nginx.log"), "-g", "daemon off;"),
            ]
        )
        try:
            until(self._answers, "nginx answers")
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
        if error is not None:
            print(f"--- nginx.log\n{(self._folder / 'nginx.log').read_text()[-6000:]}")

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "nginx.log").read_text()
        try:
            requests.get(f"{self.url}/health", verify=str(self.certificate), timeout=5)
        except requests.ConnectionError:
            return False
        return True
