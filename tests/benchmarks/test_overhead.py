"""What the service adds to a picture, against calling the engine and writing the file oneself."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.callers import Connection, each_of
from tests.benchmarks.drawing_server import drawing_server
from tests.benchmarks.loads import CALLERS, PICTURES, WARM_UP, Ways, service_before
from tests.benchmarks.processes import cpu_s, memory_mib, since
from tests.benchmarks.report import Report

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

#: Rounds of each way, one beside the other.
ROUNDS = 3
SINGLE = 40


def test_many_callers(tmp_path: Path, report: Report) -> None:
    """Pictures per second with 32 callers, and the CPU time of all processes for each."""
    with drawing_server() as engine, service_before(engine, tmp_path / "data") as service:
        ways = Ways(engine, service, tmp_path)
        idle = memory_mib(service.pid)
        each_of(CALLERS, WARM_UP, service.url, ways.served)
        direct, served, cpu, engine_cpu = [], [], [], []
        for _ in range(ROUNDS):
            direct.append(PICTURES / each_of(CALLERS, PICTURES, engine.origin, ways.direct)[0])
            before, engine_before = cpu_s(service.pid), cpu_s(engine.pid)
            served.append(PICTURES / each_of(CALLERS, PICTURES, service.url, ways.served)[0])
            cpu.append(since(before, cpu_s(service.pid)))
            engine_cpu.append(sum(since(engine_before, cpu_s(engine.pid)).values()))
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
            "engine_cpu_ms_per_picture": 1000 * statistics.median(engine_cpu) / PICTURES,
            "memory_mib": sum(memory.values()),
            "memory_mib_by_part": memory,
            "idle_memory_mib": sum(idle.values()),
            "idle_memory_mib_by_part": idle,
        },
        f"{CALLERS} callers: {whole:.0f} pictures/s, directly {base:.0f}/s: {whole / base:.2f}x",
        f"CPU {sum(per_part.values()):.1f} ms per picture: {_listed(per_part, 'ms')}",
        f"memory idle {sum(idle.values()):.0f} MiB: {_listed(idle, 'MiB')}",
        f"memory loaded {sum(memory.values()):.0f} MiB: {_listed(memory, 'MiB')}",
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


def _timed(way: Callable[[Connection, int], None], connection: Connection, number: int) -> float:
    started = time.monotonic()
    way(connection, number)
    return time.monotonic() - started


def _listed(values: dict[str, float], unit: str) -> str:
    return ", ".join(f"{part} {value:.1f} {unit}" for part, value in values.items())
