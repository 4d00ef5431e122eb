"""One API process holds hundreds of waiting calls, and serves everyone else meanwhile."""

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest

from tests.end_to_end.caller import until
from tests.end_to_end.service import Service


@pytest.mark.timeout(300)
def test_four_hundred_calls_are_held_and_answered_by_one_process(tmp_path: Path) -> None:
    with Service(tmp_path, worker_concurrency=48) as service:
        picture = service.generate().json()[0]["url"]
        worker, process = service.pid_of("worker"), service.pid_of("serve")

        with ThreadPoolExecutor(400) as callers:
            os.kill(worker, signal.SIGSTOP)
            calls = [callers.submit(service.generate, seed=seed) for seed in range(400)]
            until(lambda: len(_jobs(service, "queued")) == 400, "the calls are held")
            # While they wait, others are served: each of these has its own short time-out.
            for _ in range(20):
                assert service.call("GET", "/health").json() == {"status": "ok"}
                assert service.call("GET", picture).content
            assert not any(call.done() for call in calls)
            os.kill(worker, signal.SIGCONT)
            answers = [call.result() for call in as_completed(calls)]
        assert service.pid_of("serve") == process

        assert Counter(answer.status_code for answer in answers) == {200: 400}
        assert len({answer.json()[0]["id"] for answer in answers}) == 400


@pytest.mark.timeout(120)
def test_calls_beyond_the_cap_are_answered_202_and_lose_nothing(tmp_path: Path) -> None:
    with (
        Service(tmp_path, builtin_latency_s=1, api_threads=64) as service,
        ThreadPoolExecutor(60) as callers,
    ):
        calls = [callers.submit(service.generate, seed=seed) for seed in range(60)]
        answers = [call.result() for call in calls]

        by_status = Counter(answer.status_code for answer in answers)
        assert set(by_status) == {200, 202}
        for answer in answers:
            job = service.finished(answer.headers["Darkroom-Job"])
            assert job["status"] == "succeeded"


def _jobs(service: Service, status: str) -> list[object]:
    answer = service.call("GET", f"/api/v1/jobs/?status={status}&limit=500")
    jobs: list[object] = answer.json()
    return jobs
