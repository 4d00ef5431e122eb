"""How fast jobs are accepted by callers who do not wait. Asserts no speed."""

from pathlib import Path

import pytest

from tests.benchmarks.callers import Connection, each_of
from tests.benchmarks.processes import cpu_s, since
from tests.benchmarks.report import Report
from tests.end_to_end.service import Service

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(200)]

CALLERS = 16
WARM_UP = 64
JOBS = 600


def test_accepting_against_asking_whether_it_is_alive(tmp_path: Path, report: Report) -> None:
    """Jobs accepted per second, and calls answered that do nothing. The worker draws one job."""
    with Service(
        tmp_path, log_level="warning", worker_concurrency=1, builtin_latency_s=300, stop_s=1
    ) as service:
        headers = {"Authorization": f"Bearer {service.key}", "Prefer": "respond-async"}

        def accept(connection: Connection, number: int) -> None:
            order = {"prompt": "a lighthouse", "size": "64x64", "seed": number}
            status, content = connection.call("POST", "/api/images/generations", order, headers)
            assert status == 202, content

        def ping(connection: Connection, number: int) -> None:
            assert connection.call("GET", "/health")[0] == 200

        each_of(CALLERS, WARM_UP, service.url, accept)
        bare = JOBS / each_of(CALLERS, JOBS, service.url, ping)[0]
        before = cpu_s(service.pid)
        accepted = JOBS / each_of(CALLERS, JOBS, service.url, accept)[0]
        cpu_ms = 1000 * sum(since(before, cpu_s(service.pid)).values()) / JOBS
    report.add(
        "accepting",
        {
            "callers": CALLERS,
            "accepted_per_s": accepted,
            "bare_calls_per_s": bare,
            "ratio": accepted / bare,
            "cpu_ms_per_job": cpu_ms,
        },
        f"{accepted:.0f} jobs/s, bare calls {bare:.0f}/s: {accepted / bare:.2f}x;"
        f" {cpu_ms:.1f} ms CPU each",
    )
