"""An engine that is out of reach rests; its jobs wait, or go to the model that stands in for it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkroom.domain import JobStatus
from tests.backends.ports import free_port
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster
from tests.engines.servers.openai import OpenAIServer
from tests.engines.servers.openai_faults import KEY

JOBS = 32
MODEL = "openai/gpt-image-2"
SIZE = "1024x640"


def _cluster(folder: Path, port: int, *, fallbacks: dict[str, str] | None = None) -> Cluster:
    return Cluster(
        folder,
        worker_concurrency=16,
        images_openai_api_base_url=f"http://127.0.0.1:{port}/v1",
        images_openai_api_key=KEY,
        fallback_models=json.dumps(fallbacks or {}),
    )


@pytest.mark.timeout(120)
def test_jobs_of_an_engine_that_is_away_wait_for_it_without_being_tried(tmp_path: Path) -> None:
    port = free_port()
    with _cluster(tmp_path, port) as cluster, ThreadPoolExecutor(8) as callers:
        jobs = callers.map(
            lambda n: cluster.submit(prompt=f"ship {n}", model=MODEL, size=SIZE), range(JOBS)
        )
        job_ids = list(jobs)
        until(lambda: cluster.storage.health.rests("openai"), "the engine rests")
        until(lambda: _none_runs(cluster), "what had begun is over")
        tried = _attempts(cluster, job_ids)

        with OpenAIServer(port=port) as openai:
            ended = cluster.all_finished(job_ids, within_s=30)

        assert [job.status for job in ended] == [JobStatus.SUCCEEDED] * JOBS
        assert _attempts(cluster, job_ids) == tried + JOBS, "each was tried once more, and drawn"
        assert len(openai.drawn) == JOBS
        assert not cluster.storage.health.ailments()


@pytest.mark.timeout(120)
def test_the_model_that_stands_in_draws_and_the_job_says_so(tmp_path: Path) -> None:
    stand_in = "builtin/placeholder"
    with _cluster(tmp_path, free_port(), fallbacks={MODEL: stand_in}) as cluster:
        answers = [cluster.generate(prompt=f"ship {n}", model=MODEL, size=SIZE) for n in range(5)]

        assert [answer.status_code for answer in answers] == [200] * 5
        for answer in answers:
            job = cluster.job(answer.headers["Darkroom-Job"])
            assert (job["engine"], len(job["images"])) == ("builtin", 1)
            [warning] = job["warnings"]
            assert MODEL in warning
            assert stand_in in warning


def _none_runs(cluster: Cluster) -> bool:
    return all(status is JobStatus.QUEUED for _, _, status in cluster.storage.backlog.counts())


def _attempts(cluster: Cluster, job_ids: list[str]) -> int:
    return sum(len(cluster.attempts(job_id)) for job_id in job_ids)
