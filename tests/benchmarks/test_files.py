"""How fast pictures are served, beside servers that do nothing else. Asserts no speed."""

import re
import socket
import statistics
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.benchmarks.callers import Connection
from tests.benchmarks.drawing_server import drawing_server
from tests.benchmarks.loads import ORDER, service_before
from tests.benchmarks.report import Report
from tests.benchmarks.static_server import bare_server, nginx

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(200)]

CALLERS = 8
DOWNLOADS = 400
ROUNDS = 5


def test_serving_files(tmp_path: Path, report: Report) -> None:
    """Downloads per second of one picture of 1.5 MB, by way of the service and without it."""
    with ExitStack() as stack:
        engine = stack.enter_context(drawing_server())
        service = stack.enter_context(service_before(engine, tmp_path / "data"))
        headers = {"Authorization": f"Bearer {service.key}"}
        connection = Connection(service.url)
        status, content = connection.call("POST", "/api/images/generations", ORDER, headers)
        assert status == 200, content
        connection.close()
        url = re.search(rb'"url": ?"([^"]+)"', content)
        assert url is not None
        (file,) = (each for each in (tmp_path / "data").rglob("images/*/*") if each.is_file())
        sources = {
            "service": (service.url, url[1].decode(), f"Authorization: Bearer {service.key}\r\n"),
            "bare": (stack.enter_context(bare_server(file)), "/", ""),
        }
        if (origin := stack.enter_context(nginx(tmp_path / "nginx", file.parent))) is not None:
            sources["nginx"] = (origin, f"/{file.name}", "")
        rates: dict[str, list[float]] = {name: [] for name in sources}
        for _ in range(ROUNDS):
            for name, source in sources.items():
                rates[name].append(_rate(*source, size=file.stat().st_size))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    ratios = {
        name: medians["service"] / each for name, each in medians.items() if name != "service"
    }
    report.add(
        "files",
        {"callers": CALLERS, "downloads_per_s": medians, "ratio": ratios},
        f"{medians['service']:.0f} downloads/s; "
        + ", ".join(f"{ratio:.2f}x of {name}" for name, ratio in ratios.items()),
    )


def _rate(origin: str, path: str, headers: str, *, size: int) -> float:
    """Downloads per second, by callers that drop what they receive."""
    parts = urlsplit(origin)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()
    errors: list[BaseException] = []

    def download() -> None:
        try:
            with socket.create_connection((parts.hostname, parts.port), timeout=60) as caller:
                place = bytearray(size)
                for _ in range(DOWNLOADS // CALLERS):
                    caller.sendall(request)
                    _drop_answer(caller, place)
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=download) for _ in range(CALLERS)]
    started = time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if errors:
        raise errors[0]
    return DOWNLOADS / (time.monotonic() - started)


def _drop_answer(caller: socket.socket, place: bytearray) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        head += caller.recv(4096)
    assert head.startswith(b"HTTP/1.1 200"), head
    left = len(place) - len(head.partition(b"\r\n\r\n")[2])
    while left > 0:
        # The kernel drops what it would copy otherwise: that is not what is measured.
        got = caller.recv_into(place, left, socket.MSG_TRUNC)
        assert got > 0
        left -= got
