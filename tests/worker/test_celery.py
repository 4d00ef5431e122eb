"""The Celery application: its settings, its one task, and how Celery's own command finds it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, signals
from celery.exceptions import Reject
from kombu.transport.redis import Channel

from darkroom import bus
from darkroom.celery_broker import CeleryBroker
from darkroom.domain import Lane
from darkroom.errors import SettingsError, Unavailable
from darkroom.settings import Settings
from engines.registry import installed_engines
from worker.celery import make_celery
from worker.tasks import register

ROOT = Path(__file__).parents[2]

SETTINGS = Settings(redis_url="redis://127.0.0.1:1", worker_concurrency=7)


@pytest.fixture(autouse=True)
def _celery_forgets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An application connects to Celery's signals and patches its transport; not for long."""
    monkeypatch.setattr(Channel, "_connparams", vars(Channel)["_connparams"])
    connected = [
        (each, list(each.receivers or ()))
        for each in (
            signals.setup_logging,
            signals.worker_init,
            signals.worker_ready,
            signals.worker_shutting_down,
            signals.worker_shutdown,
        )
    ]
    yield
    for signal, receivers in connected:
        signal.receivers = receivers


@pytest.fixture
def app() -> Celery:
    return make_celery(SETTINGS)


def test_an_id_is_forgotten_only_after_its_job(app: Celery) -> None:
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.tasks[bus.RUN_JOB].acks_late


def test_no_worker_hoards_jobs(app: Celery) -> None:
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.worker_concurrency == 7
    assert app.conf.worker_pool == "threads"


def test_a_lost_broker_takes_no_running_job_with_it(app: Celery) -> None:
    assert not app.conf.worker_cancel_long_running_tasks_on_connection_loss
    assert app.conf.broker_connection_max_retries is None


def test_only_celerys_own_thread_speaks_on_the_connection_to_rabbitmq() -> None:
    """Otherwise a worker hangs now and then when RabbitMQ was away; Celery 5.7."""
    to_rabbitmq = make_celery(Settings(redis_url="redis://x", broker_url="amqp://127.0.0.1:1//"))

    assert not to_rabbitmq.conf.worker_enable_prefetch_count_reduction


def test_no_result_goes_through_the_broker(app: Celery) -> None:
    assert app.conf.task_ignore_result
    assert not app.conf.result_backend


def test_there_is_a_queue_for_each_engine(app: Celery) -> None:
    names = {each.name for each in app.conf.task_queues}

    assert names == {bus.queue_for(each) for each in installed_engines()}
    assert bus.queue_for("builtin") in names


def test_without_a_broker_the_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="DARKROOM_REDIS_URL"):
        make_celery(Settings())


def test_the_id_of_a_job_goes_to_the_queue_of_its_engine() -> None:
    settings = Settings(redis_url="memory://")
    app = make_celery(settings)

    CeleryBroker(settings).send(
        app, "job-1", engine="builtin", lane=Lane.INTERACTIVE, answers_within_s=1
    )

    with app.connection_for_read() as connection:
        message = connection.SimpleQueue("engine.builtin").get(timeout=5)
        message.ack()
    assert message.headers["task"] == "darkroom.run_job"
    assert message.payload[0] == ["job-1"]


def test_a_broker_that_is_away_is_unavailable(app: Celery) -> None:
    with pytest.raises(Unavailable):
        CeleryBroker(SETTINGS).send(
            app, "job-1", engine="builtin", lane=Lane.BATCH, answers_within_s=1
        )


def test_the_task_runs_the_job() -> None:
    app, ran = Celery(set_as_current=False), list[str]()
    register(app, ran.append)

    app.tasks[bus.RUN_JOB]("job-1")

    assert ran == ["job-1"]


def test_an_id_whose_job_could_not_be_claimed_goes_back_to_the_queue() -> None:
    def run(job_id: str) -> None:
        raise Unavailable("The database is away.")

    app = Celery(set_as_current=False)
    register(app, run)

    with pytest.raises(Reject) as caught:
        app.tasks[bus.RUN_JOB]("job-1")

    error: Any = caught.value
    assert error.requeue


def test_celery_finds_the_application_by_the_name_of_the_package(tmp_path: Path) -> None:
    report = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "report"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DARKROOM_REDIS_URL": "redis://127.0.0.1:1",
            "DARKROOM_WORKER_CONCURRENCY": "5",
            "DARKROOM_DATA_DIR": str(tmp_path / "data"),
        },
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "worker_concurrency: 5" in report.stdout
    assert "engine.builtin" in report.stdout
    assert not (tmp_path / "data").exists()
