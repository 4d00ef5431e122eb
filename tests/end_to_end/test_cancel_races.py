"""Cancels that come just when a job starts or ends: it is one or the other, never both."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from darkroom.domain import JobStatus
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

JOBS = 300


@pytest.mark.timeout(150)
def test_three_hundred_raced_jobs_are_canceled_or_succeed_and_never_both(tmp_path: Path) -> None:
    with (
        Cluster(
            tmp_path,
            workers=2,
            worker_concurrency=12,
            builtin_script=True,
        ) as cluster,
        ThreadPoolExecutor(24) as callers,
    ):
        races = [callers.submit(_race, cluster, number) for number in range(JOBS)]

        answers = dict(each.result() for each in races)

        ended = cluster.all_finished(answers)
        assert {job.status for job in ended} == {JobStatus.CANCELED, JobStatus.SUCCEEDED}
        began = Counter(job.status for job in ended if job.attempt)
        assert len(began) == 2, "running jobs were canceled too, and others were too quick"
        for job in ended:
            pictures = cluster.storage.images.of_job(job.id)
            assert len(pictures) == (job.status is JobStatus.SUCCEEDED)
            # What the caller was told of its end stays true, and asking again changes nothing.
            assert answers[job.id]["status"] in {job.status, JobStatus.CANCELING}
            assert cluster.call("POST", f"/api/v1/jobs/{job.id}/cancel").json()["status"] == (
                job.status
            )
            outcomes = [attempt.outcome for attempt in cluster.attempts(job.id)]
            assert outcomes == ([job.status] if job.attempt else [])
        cluster.await_no_leftovers()


def _race(cluster: Cluster, number: int) -> tuple[str, Any]:
    """Cancel a job about when it starts, or about when it ends; its id and what we were told."""
    chance = random.Random(number)  # noqa: S311 - guards nothing
    latency_s = chance.choice([0.1, 0.3, 1.5])
    job_id = cluster.submit(prompt=f"ship {number} [latency={latency_s}]")
    if chance.random() < 0.6:
        until(lambda: cluster.storage.jobs.get(job_id).attempt, f"job {job_id} starts")
        Event().wait(max(0.0, chance.gauss(latency_s, 0.05)))
    else:
        Event().wait(chance.uniform(0, 0.1))
    answer = cluster.call("POST", f"/api/v1/jobs/{job_id}/cancel")
    assert answer.ok, answer.text
    return job_id, answer.json()
