"""The API's way to the workers: it sends a job's id, and nothing else.

The producer has short time-outs of its own. A broker that is away does not fail a request: the
job is accepted already, and the workers' upkeep sends it when the broker is back.
"""

from typing import Protocol

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from darkroom import bus
from darkroom.redis_clients import keep_clients
from darkroom.settings import Settings
from storage.backlog import Next

log = structlog.get_logger(__name__)


class Queue(Protocol):
    """Where accepted jobs go."""

    def send(self, job: Next) -> bool:
        """Hand the job's id over; False when it must be sent again later."""


class CeleryQueue:
    """The Celery queues, one for each engine."""

    def __init__(self, settings: Settings) -> None:
        keep_clients()
        self._celery = Celery("darkroom", broker=bus.celery_url(settings), set_as_current=False)
        self._celery.conf.update(
            result_backend=None,
            task_ignore_result=True,
            task_serializer="json",
            task_send_sent_event=settings.task_events,
            broker_transport_options={
                "global_keyprefix": bus.CELERY_PREFIX,
                "priority_steps": list(bus.PRIORITIES),
                "sep": bus.SEPARATOR,
                "socket_connect_timeout": 2,
                "socket_timeout": 3,
                "socket_keepalive": True,
                "max_connections": 64,
            },
            task_publish_retry_policy={
                "max_retries": 2,
                "interval_start": 0,
                "interval_step": 0.1,
                "interval_max": 0.2,
            },
        )

    def send(self, job: Next) -> bool:
        try:
            self._celery.send_task(
                bus.RUN_JOB,
                args=[job.id],
                queue=bus.queue_for(job.engine),
                priority=bus.PRIORITIES[job.lane],
                ignore_result=True,
            )
        except OperationalError as error:
            log.warning("job not sent yet", job_id=job.id, reason=str(error))
            return False
        return True
