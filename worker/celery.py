"""The Celery application of a worker.

Celery carries ids and runs threads; leases, deadlines, retries and cancelling are ours, because a
pool of threads ignores Celery's and a row in the database outlives any broker. `celery -A worker
worker` finds `app` here by convention.
"""

import os
import socket
import sys
import warnings
from contextlib import closing
from dataclasses import replace
from typing import Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning
from celery.utils.log import mlevel

from darkroom import bus, logs, watch
from darkroom.celery_broker import WORKER_ANSWERS_WITHIN_S, CeleryBroker
from darkroom.errors import DarkroomError, SettingsError
from darkroom.processes import share_heaps
from darkroom.queues import QueuesAway, QueuesRefused, RabbitQueues
from darkroom.redis_clients import keep_clients
from darkroom.settings import Settings, load_settings
from engines.registry import installed_engines
from worker.broker_loss import survive_broker_loss
from worker.process import WorkerProcess
from worker.tasks import register


def make_celery(settings: Settings) -> Celery:
    """The application, configured from our settings alone. Opens nothing yet.

    Raises SettingsError when it is to serve an engine that has no driver.
    """
    unknown = sorted(set(settings.worker_engines) - set(installed_engines()))
    if unknown:
        raise SettingsError(
            f"A worker cannot serve {', '.join(map(repr, unknown))}: no such engine is installed;"
            f" there are {', '.join(installed_engines())}. Correct --engine or"
            " DARKROOM_WORKER_ENGINES."
        )
    broker = CeleryBroker(settings)
    app = Celery("darkroom", broker=broker.url, set_as_current=False)
    app.conf.update(
        result_backend=None,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        # An id is only forgotten once its job has ended; what runs twice for that stops at the
        # claim.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_pool="threads",
        worker_concurrency=settings.worker_concurrency,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=True,
        worker_send_task_events=settings.task_events,
        task_send_sent_event=settings.task_events,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        **broker.working_options(installed_engines()),
    )
    _attach(app, broker, settings)
    return app


def run(settings: Settings) -> None:
    """Run a worker in the foreground until SIGTERM or SIGINT. Running jobs are finished first, or
    handed back when they take longer than `stop_s`."""
    # Running as root is a container's business; nothing is unpickled here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    share_heaps()
    # Not by Celery's command line, whose libraries take 24 MiB.
    worker = make_celery(settings).Worker(
        # Flower and Celery's own commands tell workers of one machine apart by it.
        hostname=f"worker-{os.getpid()}@{socket.gethostname()}",
        loglevel=mlevel(settings.log_level),
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


def _attach(app: Celery, broker: CeleryBroker, settings: Settings) -> None:
    """Open the worker's process when Celery starts one, and close it after the last job."""
    process: WorkerProcess | None = None

    def run_job(job_id: str) -> None:
        if process is None:
            raise RuntimeError("a job came before the worker was started")
        process.run_job(job_id)

    def start(sender: Any, **_: Any) -> None:
        nonlocal process
        # Celery's own command line can say otherwise than our settings.
        own = replace(settings, worker_concurrency=int(sender.concurrency))
        try:
            watch.start(settings, "worker")
            _refuse_to_be_refused(settings)
            process = WorkerProcess(
                own,
                lambda job: broker.send(
                    app,
                    job.id,
                    engine=job.engine,
                    lane=job.lane,
                    answers_within_s=WORKER_ANSWERS_WITHIN_S,
                ),
                engines=_chosen_engines(app, settings),
            )
        except DarkroomError as error:
            # Celery keeps all other exceptions of its signals to itself.
            raise SystemExit(f"Error: {error.detail}") from error
        process.start()

    def announce(**_: Any) -> None:
        if process is not None:
            print(f"darkroom worker: ready as {process.name}", flush=True)  # noqa: T201

    def wind_down(**_: Any) -> None:
        if process is not None:
            process.wind_down()

    def stop(**_: Any) -> None:
        if process is not None:
            process.stop()
        watch.stop()

    def set_up_logging(**_: Any) -> None:
        logs.configure(settings)

    register(app, run_job)
    survive_broker_loss()
    keep_clients()
    signals.setup_logging.connect(set_up_logging, weak=False)
    signals.worker_init.connect(start, weak=False)
    signals.worker_ready.connect(announce, weak=False)
    signals.worker_shutting_down.connect(wind_down, weak=False)
    signals.worker_shutdown.connect(stop, weak=False)


def _refuse_to_be_refused(settings: Settings) -> None:
    """Celery tries for ever to connect to a broker that refuses it.

    Raises SettingsError. One that is away is waited for.
    """
    if not bus.is_rabbitmq(settings):
        return
    with closing(RabbitQueues(CeleryBroker(settings))) as queues:
        try:
            queues.declare(installed_engines())
        except QueuesRefused as error:
            raise SettingsError(
                f"RabbitMQ refuses DARKROOM_BROKER_URL ({error}): correct the URL or the rights of"
                " its user. A queue that was declared otherwise must be deleted there; no job is"
                " lost by that."
            ) from error
        except QueuesAway:
            return


def _chosen_engines(app: Celery, settings: Settings) -> list[str] | None:
    """The engines whose queues this worker takes; None for all.

    Celery's own `-Q` goes before the setting.
    """
    queues = app.amqp.queues
    if set(queues.consume_from) == set(queues):
        if not settings.worker_engines:
            return None
        queues.select([bus.queue_for(each) for each in settings.worker_engines])
    known = {bus.queue_for(each): each for each in installed_engines()}
    return sorted(known[each] for each in queues.consume_from if each in known)


def __getattr__(name: str) -> Any:
    """Make `app` when Celery asks for it: nothing is read or opened at import."""
    if name == "app":
        found = make_celery(load_settings())
        setattr(sys.modules[__name__], name, found)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
