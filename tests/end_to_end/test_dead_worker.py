"""A worker that dies in mid-job loses nothing and finishes nothing twice."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.end_to_end.caller import PATIENCE_S, until
from tests.end_to_end.service import Service
from tests.engines.servers.openai import OpenAIServer


def _running(service: Service, job_id: str, attempt: int = 1) -> bool:
    job = service.job(job_id)
    return bool(job["status"] == "running" and job["attempt"] == attempt)


@pytest.mark.timeout(120)
def test_a_job_whose_worker_is_killed_runs_again_and_ends_once(tmp_path: Path) -> None:
    with Service(tmp_path, builtin_script=True, lease_s=2) as service:
        jobs = [service.submit(prompt="a ship [latency=1.5]", seed=seed) for seed in range(4)]
        until(lambda: all(_running(service, job) for job in jobs), "all jobs run")

        service.kill("worker")

        ended = [service.finished(job) for job in jobs]
        assert [job["status"] for job in ended] == ["succeeded"] * 4
        assert [job["attempt"] for job in ended] == [2] * 4
        assert [len(job["images"]) for job in ended] == [1] * 4
        assert len(service.stored_files()) == 4
        assert service.call("GET", ended[0]["images"][0]["url"]).content


@pytest.mark.timeout(120)
def test_a_job_that_kills_every_worker_fails_in_the_end(tmp_path: Path) -> None:
    with Service(tmp_path, builtin_script=True, lease_s=1, max_attempts=2) as service:
        job = service.submit(prompt="a ship [latency=60]")
        for attempt in (1, 2):
            until(partial(_running, service, job, attempt), f"attempt {attempt} runs")
            service.kill("worker")

        ended = service.finished(job)
        assert ended["status"] == "failed"
        assert "died in each of 2 attempts" in ended["error"]["detail"]


@pytest.fixture
def openai() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.mark.timeout(120)
def test_a_paid_call_that_may_have_happened_is_never_repeated(
    tmp_path: Path, openai: OpenAIServer
) -> None:
    with Service(
        tmp_path,
        lease_s=2,
        images_openai_api_base_url=openai.url,
        images_openai_api_key=openai.key,
    ) as service:
        openai.fail("hang")
        job = service.submit(model="openai/gpt-image-2", size="1024x1024")
        assert openai.hanging.wait(PATIENCE_S)

        service.kill("worker")

        ended = service.finished(job)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "outcome_unknown")
        assert len(openai.generations) == 1
