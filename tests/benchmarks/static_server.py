"""Two servers that do nothing but send one file: nginx, and a bare one with `sendfile`.

The bare one runs as a process of its own: `python -m tests.benchmarks.static_server FILE`.
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.backends.ports import free_port
from tests.end_to_end.caller import until

READY = "serving at "

NGINX = """
{user}
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ root {root}; }}
    }}
}}
"""


@contextmanager
def bare_server(file: Path) -> Iterator[str]:
    """The origin of a Python server that sends the file for each request."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.static_server", str(file)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with _ended(process):
        line = process.stdout.readline()
        assert line.startswith(READY), line
        yield line.removeprefix(READY).strip()


@contextmanager
def nginx(folder: Path, root: Path) -> Iterator[str | None]:
    """The origin of an nginx that serves `root`; None where there is no nginx."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        yield None
        return
    port = free_port()
    folder.mkdir(parents=True)
    config = folder / "nginx.conf"
    # Started as root it would hand its work to somebody who may not look into the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(NGINX.format(folder=folder, root=root, port=port, user=user))
    with _ended(subprocess.Popen([program, "-c", str(config), "-p", str(folder)])):
        until(lambda: _accepts(port), "nginx listens")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _ended(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def _accepts(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _serve(path: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        print(f"{READY}http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer_all, args=(connection, path), daemon=True).start()


def _answer_all(connection: socket.socket, path: str) -> None:
    with connection, suppress(ConnectionError):
        while connection.recv(65536):
            with Path(path).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
                sent = 0
                while sent < size:
                    sent += os.sendfile(connection.fileno(), file.fileno(), sent, size - sent)


if __name__ == "__main__":
    _serve(sys.argv[1])
