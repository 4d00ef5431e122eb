"""A thousand callers who wait. Asserts no speed, but that nobody is refused or forgotten."""

import json
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from darkroom import bus
from darkroom.processes import allow_open_files
from tests.benchmarks.callers import Connection, each_of
from tests.benchmarks.drawing_server import drawing_server
from tests.benchmarks.loads import Ways, service_before
from tests.benchmarks.processes import cpu_s, largest_mib, memory_mib, since
from tests.benchmarks.report import Report
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

CALLERS = 1000
#: Threads of the API process, of which seven eighths may wait.
THREADS = 1200
IDLE_S = 5.0
PROBES = 50
#: How many waiting callers are woken in a second.
WOKEN_PER_S = 100
#: What the engine takes in the second measurement, and how many jobs it is given at once.
ENGINE_S = 2.0
ENGINE_JOBS = 64


def test_a_thousand_waiting_callers(tmp_path: Path, report: Report) -> None:
    """What one API process takes to hold them, how soon each hears of its job, and what others
    wait meanwhile. No worker runs: jobs are finished by hand, one after another."""
    allow_open_files()
    with Cluster(tmp_path, workers=1, api_threads=THREADS) as cluster:
        picture = cluster.generate().json()[0]["url"]
        cluster.workers[0].kill()
        api = cluster.api.pid
        with _waiting(cluster) as callers:
            memory = largest_mib(api)
            before = cpu_s(api)
            time.sleep(IDLE_S)
            idle_cpu = sum(since(before, cpu_s(api)).values()) / IDLE_S
            health = _probe(cluster, "/health")
            downloads = _probe(cluster, picture)
            woken_ms = _wake(cluster, callers)
    report.add(
        "waiting",
        {
            "callers": CALLERS,
            "memory_mib_of_process": memory,
            "cpu_share_while_waiting": idle_cpu,
            "wake_up_ms": _quantiles(woken_ms),
            "health_ms": _quantiles(health),
            "download_ms": _quantiles(downloads),
        },
        f"{CALLERS} held: {memory:.0f} MiB, {100 * idle_cpu:.1f} % of a core",
        f"woken after {_shown(woken_ms)}; meanwhile /health {_shown(health)},"
        f" a picture {_shown(downloads)}",
    )


def test_a_thousand_callers_at_once(tmp_path: Path, report: Report) -> None:
    """A thousand callers whose pictures take an engine 2 s each: all of them get theirs."""
    allow_open_files()
    with (
        drawing_server(latency_s=ENGINE_S) as engine,
        service_before(
            engine, tmp_path / "data", api_threads=THREADS, worker_concurrency=ENGINE_JOBS
        ) as service,
    ):
        ways = Ways(engine, service, tmp_path)
        most = 0.0
        finished = threading.Event()

        def watch() -> None:
            nonlocal most
            while not finished.wait(1.0):
                most = max(most, sum(memory_mib(service.pid).values()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            took_s, each_s = each_of(CALLERS, CALLERS, service.url, ways.served)
        finally:
            finished.set()
            watcher.join()
    ideal_s = CALLERS / ENGINE_JOBS * ENGINE_S
    assert len(each_s) == CALLERS
    report.add(
        "thousand_callers",
        {
            "callers": CALLERS,
            "answered": len(each_s),
            "took_s": took_s,
            "engine_alone_s": ideal_s,
            "ratio": took_s / ideal_s,
            "memory_mib": most,
        },
        f"{len(each_s)} of {CALLERS} answered in {took_s:.0f} s, the engine alone takes"
        f" {ideal_s:.0f} s: {took_s / ideal_s:.2f}x; at most {most:.0f} MiB",
    )


@contextmanager
def _waiting(cluster: Cluster) -> Iterator[list[socket.socket]]:
    """A thousand connections, each with a call that waits for its job."""
    parts = urlsplit(cluster.url)
    body = json.dumps({"prompt": "a lighthouse", "size": "64x64"})
    request = (
        "POST /api/images/generations HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {cluster.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    callers: list[socket.socket] = []
    try:
        for _ in range(CALLERS):
            caller = socket.create_connection((parts.hostname, parts.port), timeout=60)
            callers.append(caller)
            caller.sendall(request)
        until(lambda: _queued(cluster) == CALLERS, "all calls are held", within_s=120)
        yield callers
    finally:
        for caller in callers:
            caller.close()


def _queued(cluster: Cluster) -> int:
    return sum(cluster.storage.backlog.counts().values())


def _probe(cluster: Cluster, path: str) -> list[float]:
    """Milliseconds that calls take one after another, each with a connection of its own."""
    took = []
    for _ in range(PROBES):
        started = time.monotonic()
        connection = Connection(cluster.url)
        status, _ = connection.call("GET", path, headers={"Authorization": f"Bearer {cluster.key}"})
        connection.close()
        assert status == 200
        took.append(1000 * (time.monotonic() - started))
    return took


def _wake(cluster: Cluster, callers: list[socket.socket]) -> list[float]:
    """Finish all jobs, and return how long after that each caller had its answer, in ms."""
    finished_at: dict[str, float] = {}
    woken_ms: list[float] = []

    def finish_all() -> None:
        client = bus.connect(cluster.settings)
        for job in cluster.storage.jobs.list(limit=CALLERS + 1):
            held = cluster.storage.attempts.claim(job.id, worker="bench", lease_s=600)
            if held is None:
                continue
            cluster.storage.attempts.succeed(held, [], warnings=[])
            finished_at[job.id] = time.monotonic()
            bus.announce_finished(client, job.id)
            time.sleep(1 / WOKEN_PER_S)
        client.close()

    finisher = threading.Thread(target=finish_all)
    with selectors.DefaultSelector() as selector:
        for caller in callers:
            selector.register(caller, selectors.EVENT_READ, caller)
        finisher.start()
        give_up_at = time.monotonic() + 120
        while len(woken_ms) < CALLERS and time.monotonic() < give_up_at:
            for key, _ in selector.select(timeout=1):
                now = time.monotonic()
                caller = key.data
                head = caller.recv(65536).decode()
                assert head.startswith("HTTP/1.1 200"), head
                job_id = head.partition("Darkroom-Job: ")[2].partition("\r\n")[0]
                woken_ms.append(1000 * (now - finished_at[job_id]))
                selector.unregister(caller)
        finisher.join()
    assert len(woken_ms) == CALLERS
    return woken_ms


def _quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98], "max": max(values)}


def _shown(values: list[float]) -> str:
    cuts = _quantiles(values)
    return f"p50 {cuts['p50']:.1f} ms, p99 {cuts['p99']:.1f} ms"
