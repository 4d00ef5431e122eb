"""Celery's queues in RabbitMQ, everything else in Redis as before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.domain import JobStatus
from tests.backends import rabbitmq
from tests.backends.choice import installed, only_shared
from tests.backends.rabbitmq import RabbitMQ
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

pytestmark = [only_shared, pytest.mark.timeout(240)]

#: More than a worker has slots, less than it may have sent.
SLOTS, WAITING = 2, 6


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitMQ]:
    with RabbitMQ(installed(rabbitmq.program(), "rabbitmq-server")) as server:
        yield server


def test_a_rabbitmq_that_dies_and_comes_back_empty_costs_no_job_and_repeats_none(
    server: RabbitMQ, tmp_path: Path
) -> None:
    with Cluster(
        tmp_path, worker_concurrency=SLOTS, builtin_latency_s=1, broker_url=server.url
    ) as cluster:
        assert cluster.generate().status_code == 200
        job_ids = [cluster.submit(seed=seed) for seed in range(WAITING)]
        until(lambda: cluster.runs_begun() == 1 + SLOTS, "all slots are busy")

        server.kill()
        server.forget()
        job_ids += [cluster.submit(seed=seed) for seed in range(WAITING, 2 * WAITING)]
        server.start()

        ended = cluster.all_finished(job_ids)
        assert cluster.workers[0].is_running
        assert [job.status for job in ended] == [JobStatus.SUCCEEDED] * len(job_ids)
        assert [job.attempt for job in ended] == [1] * len(job_ids)
        calls = cluster.calls_by_job()
        assert {each: calls[each] for each in job_ids} == dict.fromkeys(job_ids, 1)
        cluster.await_no_leftovers()
