"""What more worker processes bring on an engine that takes 200 ms. Asserts no speed."""

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.benchmarks.callers import Connection, each_of
from tests.benchmarks.report import Report
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

LATENCY_S = 0.2
CONCURRENCY = 4
JOBS_PER_WORKER = 120


def test_more_workers(tmp_path: Path, report: Report) -> None:
    """Finished jobs per second with 1, 2 and 4 worker processes; no job is drawn twice."""
    rates = {count: _rate(tmp_path / str(count), count) for count in (1, 2, 4)}
    report.add(
        "scaling",
        {
            "latency_s": LATENCY_S,
            "jobs_at_once_per_worker": CONCURRENCY,
            "finished_per_s": {str(count): rate for count, rate in rates.items()},
            "ratio": {str(count): rate / rates[1] for count, rate in rates.items()},
        },
        *(
            f"{count} workers: {rate:.1f} jobs/s of {count * CONCURRENCY / LATENCY_S:.0f},"
            f" {rate / rates[1]:.2f}x"
            for count, rate in rates.items()
        ),
    )


def _rate(folder: Path, workers: int) -> float:
    count = JOBS_PER_WORKER * workers
    with Cluster(
        folder,
        workers=workers,
        worker_concurrency=CONCURRENCY,
        builtin_latency_s=LATENCY_S,
        lease_s=60,
    ) as cluster:
        assert cluster.generate().status_code == 200
        # They begin at one moment, with all the work there.
        for each in cluster.workers:
            each.freeze()
        headers = {"Authorization": f"Bearer {cluster.key}", "Prefer": "respond-async"}

        def submit(connection: Connection, number: int) -> None:
            order = {"prompt": "a lighthouse", "size": "64x64", "seed": number}
            assert connection.call("POST", "/api/images/generations", order, headers)[0] == 202

        each_of(8, count, cluster.url, submit)
        started = time.monotonic()
        for each in cluster.workers:
            each.thaw()
        until(lambda: not cluster.storage.backlog.counts(), "all jobs are done", within_s=120)
        rate = count / (time.monotonic() - started)
        calls = cluster.calls_by_job()
    assert len(calls) == count + 1
    assert Counter(calls.values()) == {1: count + 1}
    return rate
