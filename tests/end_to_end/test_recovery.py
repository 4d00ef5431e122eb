"""A job whose worker dies or stops goes on soon, with another worker."""

import time
from collections.abc import Iterator
from threading import Event

import pytest

from darkroom.domain import JobStatus
from tests.end_to_end.cluster import Cluster

LEASE_S = 2.0
STOP_S = 1.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(
        tmp_path_factory.mktemp("recovery"),
        workers=2,
        builtin_script=True,
        lease_s=LEASE_S,
        stop_s=STOP_S,
    ) as cluster:
        yield cluster


@pytest.mark.timeout(120)
def test_a_job_whose_worker_is_killed_runs_again_within_three_leases(cluster: Cluster) -> None:
    job_id = cluster.submit(prompt="a ship [latency=2]")
    worker = cluster.holder(job_id)

    worker.kill()
    killed_at = time.time()

    [job] = cluster.all_finished([job_id])
    worker.start()
    first, second = cluster.attempts(job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert (first.outcome, second.outcome) == ("lease_lost", "succeeded")
    assert second.started_at - killed_at <= 3 * LEASE_S


@pytest.mark.timeout(120)
def test_jobs_stay_with_workers_that_all_slept_for_longer_than_a_lease(cluster: Cluster) -> None:
    slept_s = 1.5 * LEASE_S
    job_ids = [cluster.submit(prompt=f"a ship [latency={2 * slept_s}]") for _ in range(8)]
    for job_id in job_ids:
        cluster.holder(job_id)

    first, second = cluster.workers
    first.freeze()
    second.freeze()
    Event().wait(slept_s)
    first.thaw()
    # Nobody wakes at the same moment: the first finds that the second's leases ran out.
    Event().wait(LEASE_S / 4)
    second.thaw()

    jobs = cluster.all_finished(job_ids)
    assert {(job.status, job.attempt) for job in jobs} == {(JobStatus.SUCCEEDED, 1)}


@pytest.mark.timeout(120)
def test_a_job_whose_worker_is_stopped_is_handed_back_at_its_limit(cluster: Cluster) -> None:
    job_id = cluster.submit(prompt="a ship [latency=4]")
    worker = cluster.holder(job_id)

    worker.terminate()
    stopped_at = time.time()

    [job] = cluster.all_finished([job_id])
    assert worker.exit_code() == 0
    worker.start()
    first, second = cluster.attempts(job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert (first.outcome, second.outcome) == ("handed_back", "succeeded")
    assert first.ended_at is not None
    assert STOP_S <= first.ended_at - stopped_at <= STOP_S + 2
    assert second.started_at - first.ended_at <= 2


@pytest.mark.timeout(120)
def test_a_short_job_whose_worker_is_stopped_ends_there(cluster: Cluster) -> None:
    job_id = cluster.submit(prompt="a ship [latency=0.5]")
    worker = cluster.holder(job_id)

    worker.terminate()

    assert worker.exit_code() == 0
    worker.start()
    [job] = cluster.all_finished([job_id])
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)


@pytest.mark.timeout(120)
def test_a_run_that_outlives_its_worker_is_gone_on_with_and_not_called_again(
    cluster: Cluster,
) -> None:
    job_id = cluster.submit(prompt="a ship [resume] [latency=4]")
    worker = cluster.holder(job_id)
    # Its id is noted by then, which is what makes it possible to find the run again.
    cluster.await_upstream_id(job_id)

    worker.kill()

    [job] = cluster.all_finished([job_id])
    worker.start()
    [run] = [each for each in cluster.runs() if each.job_id == job_id]
    [image] = cluster.storage.images.of_job(job_id)
    assert (job.status, job.attempt, run.attempt) == (JobStatus.SUCCEEDED, 2, 1)
    assert (job.upstream_id, image.seed) == (run.id, run.seed)
