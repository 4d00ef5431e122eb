"""What the service adds to a picture, against calling the engine and writing the file oneself."""

import base64
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.benchmarks.callers import Connection, each_of
from tests.benchmarks.drawing_server import Server, drawing_server
from tests.benchmarks.processes import cpu_s, memory_mib, since
from tests.benchmarks.report import Report
from tests.end_to_end.service import Service

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

CALLERS = 32
WARM_UP = 64
#: Pictures of one round, and rounds of each way, one beside the other.
PICTURES = 256
ROUNDS = 3
SINGLE = 40

ORDER = {"prompt": "a lighthouse at dusk, oil painting", "size": "1024x1024"}


@contextmanager
def service_before(engine: Server, folder: Path, **settings: object) -> Iterator[Service]:
    """An embedded stack whose default engine is the drawing server."""
    with Service(
        folder,
        log_level="warning",
        images_openai_api_base_url=f"{engine.origin}/v1",
        image_generation_engine="openai",
        image_generation_model="gpt-image-1",
        **settings,
    ) as service:
        yield service


def test_many_callers(tmp_path: Path, report: Report) -> None:
    """Pictures per second with 32 callers, and the CPU time of all processes for each."""
    with drawing_server() as engine, service_before(engine, tmp_path / "data") as service:
        ways = Ways(engine, service, tmp_path)
        each_of(CALLERS, WARM_UP, service.url, ways.served)
        direct, served, cpu = [], [], []
        for _ in range(ROUNDS):
            direct.append(PICTURES / each_of(CALLERS, PICTURES, engine.origin, ways.direct)[0])
            before = cpu_s(service.pid)
            served.append(PICTURES / each_of(CALLERS, PICTURES, service.url, ways.served)[0])
            cpu.append(since(before, cpu_s(service.pid)))
        memory = memory_mib(service.pid)
    per_part = {
        part: statistics.median(1000 * each[part] / PICTURES for each in cpu) for part in cpu[0]
    }
    base, whole = statistics.median(direct), statistics.median(served)
    report.add(
        "many_callers",
        {
            "callers": CALLERS,
            "direct_per_s": base,
            "served_per_s": whole,
            "ratio": whole / base,
            "cpu_ms_per_picture": sum(per_part.values()),
            "cpu_ms_by_part": per_part,
            "memory_mib": sum(memory.values()),
            "memory_mib_by_part": memory,
        },
        f"{CALLERS} callers: {whole:.0f} pictures/s, directly {base:.0f}/s: {whole / base:.2f}x",
        f"CPU {sum(per_part.values()):.1f} ms per picture: {_listed(per_part, 'ms')}",
        f"memory {sum(memory.values()):.0f} MiB: {_listed(memory, 'MiB')}",
    )


def test_one_caller(tmp_path: Path, report: Report) -> None:
    """Milliseconds from call to answer for a single caller, against doing it oneself."""
    with drawing_server() as engine, service_before(engine, tmp_path / "data") as service:
        ways = Ways(engine, service, tmp_path)
        each_of(4, WARM_UP, service.url, ways.served)
        mine, theirs = Connection(engine.origin), Connection(service.url)
        direct, served = [], []
        for number in range(SINGLE):
            direct.append(_timed(ways.direct, mine, number))
            served.append(_timed(ways.served, theirs, number))
        mine.close()
        theirs.close()
    base, whole = (1000 * statistics.median(each) for each in (direct, served))
    report.add(
        "one_caller",
        {"direct_ms": base, "served_ms": whole, "added_ms": whole - base, "ratio": whole / base},
        f"{whole:.0f} ms, directly {base:.0f} ms: {whole - base:.0f} ms more, {whole / base:.2f}x",
    )


class Ways:
    """The two ways to a picture in a file."""

    def __init__(self, engine: Server, service: Service, folder: Path) -> None:
        self._folder = folder
        self._headers = {"Authorization": f"Bearer {service.key}"}

    def direct(self, connection: Connection, number: int) -> None:
        order = {**ORDER, "model": "gpt-image-1"}
        status, content = connection.call("POST", "/v1/images/generations", order)
        assert status == 200
        picture = base64.b64decode(json.loads(content)["data"][0]["b64_json"])
        (self._folder / f"{number}.png").write_bytes(picture)

    def served(self, connection: Connection, number: int) -> None:
        status, content = connection.call("POST", "/api/images/generations", ORDER, self._headers)
        assert status == 200, content
        assert json.loads(content)[0]["url"]


def _timed(way: Callable[[Connection, int], None], connection: Connection, number: int) -> float:
    started = time.monotonic()
    way(connection, number)
    return time.monotonic() - started


def _listed(values: dict[str, float], unit: str) -> str:
    return ", ".join(f"{part} {value:.1f} {unit}" for part, value in values.items())
