"""Celery's queues in RabbitMQ, everything else in Redis as before."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from celery import Celery

from darkroom.celery_broker import CeleryBroker
from darkroom.domain import ImageRequest, JobStatus, Lane, NewJob, Size
from darkroom.queues import QueuesAway, QueuesRefused, RabbitQueues
from darkroom.settings import Settings
from tests.backends import rabbitmq
from tests.backends.choice import installed, only_shared
from tests.backends.rabbitmq import RabbitMQ
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

pytestmark = [only_shared, pytest.mark.timeout(240)]

SLOTS, LATENCY_S = 2, 0.5


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitMQ]:
    with RabbitMQ(installed(rabbitmq.program(), "rabbitmq-server")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(server: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(
        tmp_path_factory.mktemp("rabbitmq"),
        worker_concurrency=SLOTS,
        builtin_latency_s=LATENCY_S,
        broker_url=server.url,
    ) as cluster:
        yield cluster


@contextmanager
def looking(url: str) -> Iterator[RabbitQueues]:
    settings = Settings(broker_url=url, redis_url="redis://unused")
    with closing(RabbitQueues(CeleryBroker(settings))) as queues:
        yield queues


def send(url: str, engine: str) -> None:
    """Hand a job over, as the API does."""
    broker = CeleryBroker(Settings(broker_url=url, redis_url="redis://unused"))
    with Celery(broker=broker.url, set_as_current=False) as app:
        app.conf.update(broker.options(connects_within_s=5, answers_within_s=5, connections=1))
        broker.send(app, "job", engine=engine, lane=Lane.BATCH, answers_within_s=5)


def test_what_a_queue_lacks_and_holds_is_seen(server: RabbitMQ) -> None:
    with looking(server.url) as queues:
        assert queues.are_new()
        queues.mark()
        assert not queues.are_new()

        assert queues.is_empty("seen")
        send(server.url, "seen")
        assert not queues.is_empty("seen")
        assert queues.describe().startswith("RabbitMQ ")


def test_a_queue_is_declared_alike_by_all_and_another_one_of_its_name_is_refused(
    server: RabbitMQ,
) -> None:
    with looking(server.url) as queues, closing(server.connect()) as connection:
        send(server.url, "alike")
        queues.declare(["alike"])
        connection.channel().queue_declare("engine.foreign", durable=True, auto_delete=False)

        with pytest.raises(QueuesRefused, match="x-max-priority"):
            queues.declare(["foreign"])
        assert queues.is_empty("alike") is False


def test_tls_trusts_the_certificate_that_is_known(server: RabbitMQ) -> None:
    known = f"{server.tls_url}?ssl_ca_certs={server.certificate}"
    send(known, "over-tls")
    with looking(known) as queues:
        assert not queues.is_empty("over-tls")
    with looking(server.tls_url) as queues, pytest.raises(QueuesAway, match="CERT"):
        queues.describe()
    with looking(f"{server.tls_url}?ssl_cert_reqs=none") as queues:
        assert queues.describe()


def test_a_wrong_password_is_refused_and_not_shown(server: RabbitMQ) -> None:
    wrong = server.url.replace("secret", "wrong")
    with looking(wrong) as queues, pytest.raises(QueuesRefused) as refused:
        queues.describe()
    assert "wrong" not in str(refused.value)


def test_interactive_jobs_overtake_the_batch_that_rabbitmq_holds(
    server: RabbitMQ, cluster: Cluster
) -> None:
    owner, _ = cluster.add_user("crowd")
    batch = [_queue_for_batch(cluster, owner, seed) for seed in range(8)]
    with looking(server.url) as queues:
        until(lambda: not queues.is_empty("builtin"), "the batch waits in RabbitMQ")

    interactive = cluster.submit(seed=100)

    *ended, last = cluster.all_finished([*batch, interactive])
    assert {job.status for job in (*ended, last)} == {JobStatus.SUCCEEDED}
    assert sum((job.started_at or 0) > (last.started_at or 0) for job in ended) >= SLOTS


def test_a_rabbitmq_that_dies_and_comes_back_empty_costs_no_job_and_repeats_none(
    server: RabbitMQ, cluster: Cluster
) -> None:
    begun = cluster.runs_begun()
    job_ids = [cluster.submit(seed=seed) for seed in range(6)]
    until(lambda: cluster.runs_begun() >= begun + SLOTS, "all slots are busy")

    server.kill()
    server.forget()
    job_ids += [cluster.submit(seed=seed) for seed in range(6, 12)]
    down = cluster.call("GET", "/ready")
    server.start()

    ended = cluster.all_finished(job_ids)
    assert down.status_code == 200
    assert [down.json()["checks"][each]["ok"] for each in ("broker", "redis")] == [False, True]
    assert cluster.workers[0].is_running
    assert [job.status for job in ended] == [JobStatus.SUCCEEDED] * len(job_ids)
    assert [job.attempt for job in ended] == [1] * len(job_ids)
    assert cluster.calls_by_job() == dict.fromkeys(cluster.calls_by_job(), 1)
    assert set(job_ids) <= set(cluster.calls_by_job())
    assert cluster.generate().status_code == 200
    assert cluster.call("GET", "/ready").status_code == 200
    assert rabbitmq.PASSWORD not in cluster.workers[0].output + cluster.api.output


def _queue_for_batch(cluster: Cluster, owner_id: str, seed: int) -> str:
    job, _ = cluster.storage.jobs.submit(
        NewJob(
            owner_id=owner_id,
            engine="builtin",
            model="placeholder",
            request=ImageRequest(prompt="a ship", size=Size(64, 64), seed=seed),
            lane=Lane.BATCH,
        )
    )
    return job.id
