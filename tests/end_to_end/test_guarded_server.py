"""The server itself, against callers who mean it no good: a real one, on a real socket."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

SERVE = """
from api import server
from darkroom.settings import load_settings
server.STALLED_S = 1
server.serve(load_settings())
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the server wrote."""
    return tmp_path_factory.mktemp("log") / "api.log"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("guarded")
    environment = os.environ | {
        "DARKROOM_DATA_DIR": str(folder),
        "DARKROOM_PORT": "0",
        "DARKROOM_REDIS_URL": "redis://127.0.0.1:1/0",
        "DARKROOM_STOP_S": "1",
        "DARKROOM_LOG_FORMAT": "json",
    }
    subprocess.run(
        [sys.executable, "-m", "darkroom", "migrate"],
        env=environment,
        check=True,
        capture_output=True,
    )
    with (
        log.open("w") as written,
        subprocess.Popen(
            [sys.executable, "-c", SERVE],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        found = re.search(r":(\d+) \(pid", process.stdout.readline())
        assert found is not None
        yield int(found[1])
        process.terminate()


def exchange(port: int, data: bytes) -> bytes:
    """What the server answers to these bytes, until it hangs up."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "Host: x", "Connection: close", "", ""]).encode()


def test_no_version_of_the_server_is_told(port: int) -> None:
    answer = exchange(port, head("GET /health HTTP/1.1"))

    (server,) = re.findall(rb"(?im)^server: (.*?)\r$", answer)
    assert not re.search(rb"\d", server)


def test_a_request_that_is_none_is_told_of_like_all_else_and_without_secrets(
    port: int, log: Path
) -> None:
    assert exchange(port, head("GET /nothing HTTP/1.1")).startswith(b"HTTP/1.1 404 ")
    answer = exchange(port, b"GET /x?key=dk_precious_secret\x01 HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    lines = [json.loads(each) for each in log.read_text().splitlines()]
    (told,) = [each for each in lines if "Invalid" in each["event"]]
    assert (told["level"], "request_id" in told) == ("warning", False)
    assert "precious" not in log.read_text()


@pytest.mark.parametrize(
    "lines",
    [
        ("GET /health?" + "a" * 9000 + " HTTP/1.1",),
        ("GET /health HTTP/1.1", "X-Long: " + "a" * 9000),
        ("GET /health HTTP/1.1", *(f"X-{each}: a" for each in range(101))),
    ],
    ids=["line", "field", "fields"],
)
def test_a_head_without_end_is_refused(port: int, lines: tuple[str, ...]) -> None:
    answer = exchange(port, head(*lines))

    assert re.match(rb"HTTP/1.1 4\d\d ", answer)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\nHost:",
        b"POST /api/v1/auths/signin HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 99\r\n\r\n{",
    ],
    ids=["head", "body"],
)
def test_who_stops_in_the_middle_of_a_request_is_cut_off(port: int, log: Path, sent: bytes) -> None:
    answer = exchange(port, sent)

    assert b"HTTP/1.1 200" not in answer
    assert "Traceback" not in log.read_text()
    assert exchange(port, head("GET /health HTTP/1.1")).startswith(b"HTTP/1.1 200")
