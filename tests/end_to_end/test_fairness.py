"""Nobody waits behind somebody else's batch."""

from collections import Counter
from pathlib import Path

import pytest

from darkroom.domain import ImageRequest, JobStatus, Lane, NewJob, Size
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

LATENCY_S = 0.5
SLOTS = 4


def _queue_batch(cluster: Cluster, owner_id: str, count: int) -> None:
    """Queue a batch past the API, which would take longer than the test."""
    for number in range(count):
        cluster.storage.jobs.submit(
            NewJob(
                owner_id=owner_id,
                engine="builtin",
                model="placeholder",
                request=ImageRequest(prompt="a ship", size=Size(64, 64), seed=number),
                lane=Lane.BATCH,
            )
        )


@pytest.mark.timeout(120)
def test_an_interactive_job_starts_at_once_beside_two_thousand_batch_jobs(tmp_path: Path) -> None:
    with Cluster(tmp_path, worker_concurrency=SLOTS, builtin_latency_s=LATENCY_S) as cluster:
        crowd, _ = cluster.add_user("crowd")
        _, as_someone = cluster.add_user("someone")
        _queue_batch(cluster, crowd, 2000)
        until(lambda: cluster.runs_begun() >= SLOTS, "the batch fills all slots")

        job_ids = [cluster.submit(as_someone, prompt=f"one picture, {n}") for n in range(3)]

        for job in cluster.all_finished(job_ids):
            assert cluster.overtaken_by(job) <= 2 * SLOTS, "within two turns of all slots"
        queued = cluster.storage.backlog.counts()["builtin", Lane.BATCH, JobStatus.QUEUED]
        assert queued > 1500, "the batch was still waiting"


@pytest.mark.timeout(120)
def test_three_users_batches_are_served_alike(tmp_path: Path) -> None:
    with Cluster(tmp_path, worker_concurrency=8, builtin_latency_s=0.1) as cluster:
        cluster.workers[0].kill()
        # Whoever came first has more, and all of it was queued before anyone else's.
        sizes = {"anna": 400, "bo": 100, "cleo": 100}
        for name, size in sizes.items():
            owner, _ = cluster.add_user(name)
            _queue_batch(cluster, owner, size)

        cluster.workers[0].start()

        done = until(lambda: _done(cluster, at_least=150), "each has had a good part", within_s=40)
        assert len(done) == 3
        assert max(done.values()) <= 1.5 * min(done.values()), done


def _done(cluster: Cluster, *, at_least: int) -> Counter[str] | None:
    done = Counter(each.owner_id for each in cluster.storage.images.list(limit=1000))
    return done if done.total() >= at_least else None
