"""The broker may go, and lose everything it held: it only ever held ids."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkroom.domain import JobStatus
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

RUNNING = 10
QUEUED = 100


@pytest.mark.timeout(150)
def test_a_broker_that_comes_back_empty_costs_no_job_and_repeats_none(tmp_path: Path) -> None:
    with (
        Cluster(tmp_path, worker_concurrency=RUNNING, builtin_latency_s=1) as cluster,
        ThreadPoolExecutor(8) as callers,
    ):
        jobs = callers.map(lambda seed: cluster.submit(seed=seed), range(RUNNING + QUEUED))
        job_ids = list(jobs)
        until(lambda: cluster.runs_begun() >= RUNNING, "all slots are busy")

        cluster.broker.kill()
        cluster.broker.start()

        ended = cluster.all_finished(job_ids)
        assert cluster.workers[0].is_running
        assert [job.status for job in ended] == [JobStatus.SUCCEEDED] * len(job_ids)
        assert [job.attempt for job in ended] == [1] * len(job_ids)
        assert cluster.calls_by_job() == dict.fromkeys(job_ids, 1)
        cluster.await_no_leftovers()


@pytest.mark.timeout(150)
def test_what_is_asked_while_the_broker_is_down_runs_when_it_is_back(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster, ThreadPoolExecutor(4) as callers:
        cluster.broker.kill()

        patient = [callers.submit(cluster.generate, seed=seed) for seed in range(4)]
        job_ids = [cluster.submit(seed=seed) for seed in range(4, 8)]
        assert {job.status for job in map(cluster.storage.jobs.get, job_ids)} == {JobStatus.QUEUED}
        cluster.broker.start()

        assert [call.result().status_code for call in patient] == [200] * 4
        ended = cluster.all_finished(job_ids)
        assert [job.status for job in ended] == [JobStatus.SUCCEEDED] * 4
        assert cluster.workers[0].is_running
        assert set(cluster.calls_by_job().values()) == {1}
