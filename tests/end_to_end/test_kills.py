"""Two hundred jobs, while everything that works on them is killed again and again."""

import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import pytest
import requests

from darkroom.domain import JobStatus
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster, Part

JOBS = 200
KILLS = 12


@pytest.mark.timeout(180)
def test_two_hundred_jobs_survive_kills_of_workers_and_api(tmp_path: Path) -> None:
    with (
        Cluster(
            tmp_path,
            workers=2,
            worker_concurrency=8,
            builtin_latency_s=0.6,
            lease_s=2,
            max_attempts=KILLS + 1,
        ) as cluster,
        ThreadPoolExecutor(8) as callers,
    ):
        submissions = [callers.submit(_submit_in_the_end, cluster, n) for n in range(JOBS)]

        _kill_now_and_then(cluster, [*cluster.workers, cluster.workers[0], cluster.api])

        job_ids = [each.result() for each in submissions]
        assert len(set(job_ids)) == JOBS
        jobs = cluster.all_finished(job_ids)
        assert {job.status for job in jobs} == {JobStatus.SUCCEEDED}
        assert cluster.storage.backlog.counts() == {}
        assert len(cluster.storage.images.list(limit=10_000)) == JOBS
        for job_id in job_ids:
            assert len(cluster.storage.images.of_job(job_id)) == 1
        _assert_calls_match_attempts(cluster, job_ids)
        cluster.await_no_leftovers()


def _submit_in_the_end(cluster: Cluster, number: int) -> str:
    """Ask until it is accepted; with a key, so that it is one job however often we ask."""

    def ask() -> str | None:
        try:
            headers = {"Prefer": "respond-async", "Idempotency-Key": f"job-{number}"}
            answer = cluster.generate(headers, seed=number)
        except requests.RequestException:
            # The API is dead, or died before it answered.
            return None
        # One whose first answer was lost may be finished by now.
        assert answer.status_code in {200, 202}, answer.text
        return answer.headers["Darkroom-Job"]

    return until(ask, f"job {number} is accepted")


def _kill_now_and_then(cluster: Cluster, targets: list[Part]) -> None:
    """Spread the kills over the whole time the jobs take, each at a random moment."""
    chance = random.Random(3)  # noqa: S311 - guards nothing
    progress = sorted(chance.sample(range(JOBS * 9 // 10), KILLS))
    for finished, target in zip(progress, chance.choices(targets, k=KILLS), strict=True):
        until(partial(_are_finished, cluster, finished), f"{finished} jobs are finished")
        Event().wait(chance.uniform(0, 0.6))
        target.kill()
        target.start(wait=False)


def _are_finished(cluster: Cluster, jobs: int) -> bool:
    return len(cluster.storage.images.list(limit=10_000)) >= jobs


def _assert_calls_match_attempts(cluster: Cluster, job_ids: Iterable[str]) -> None:
    """Every recorded attempt made at most one call, and every call belongs to an attempt.

    All attempts but a job's last lost their worker; only such a one may have made no call, when
    its worker died between claiming the job and calling the engine.
    """
    calls = [(run.job_id, run.attempt) for run in cluster.runs()]
    attempts = {
        (job_id, attempt.number): attempt.outcome
        for job_id in job_ids
        for attempt in cluster.attempts(job_id)
    }
    last = {(job_id, len(cluster.attempts(job_id))) for job_id in job_ids}

    assert len(calls) == len(set(calls))
    assert set(calls) <= attempts.keys()
    assert last <= set(calls)
    assert {attempts[each] for each in last} == {"succeeded"}
    lost = attempts.keys() - last
    assert {attempts[each] for each in lost} == {"lease_lost"}, "the kills hit running jobs"
