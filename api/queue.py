"""The API's way to the workers: it sends a job's id, and nothing else.

The producer has short time-outs of its own. A broker that is away does not fail a request: the
job is accepted already, and the workers' upkeep sends it when the broker is back.
"""

import time
from typing import Protocol

import structlog
from celery import Celery

from darkroom.celery_broker import CeleryBroker
from darkroom.errors import Unavailable
from darkroom.redis_clients import keep_clients
from darkroom.settings import Settings
from storage.backlog import Next

#: The broker's time, in seconds, to take a connection and to take a job.
CONNECTS_WITHIN_S = 2
ANSWERS_WITHIN_S = 3

#: The same for RabbitMQ, for both: with it, more of them add up.
RABBITMQ_WITHIN_S = 1

#: How long a broker that did not take a job is left alone, in seconds: calls would otherwise wait
#: for its time-outs one after the other.
PAUSE_S = 5.0

log = structlog.get_logger(__name__)


class Queue(Protocol):
    """Where accepted jobs go."""

    def send(self, job: Next) -> bool:
        """Hand the job's id over; False when it must be sent again later."""


class CeleryQueue:
    """The Celery queues, one for each engine."""

    def __init__(self, settings: Settings) -> None:
        keep_clients()
        self._broker = CeleryBroker(settings)
        is_rabbitmq = self._broker.is_rabbitmq
        self._answers_within_s = RABBITMQ_WITHIN_S if is_rabbitmq else ANSWERS_WITHIN_S
        self._celery = Celery("darkroom", broker=self._broker.url, set_as_current=False)
        self._celery.conf.update(
            result_backend=None,
            task_ignore_result=True,
            task_serializer="json",
            task_send_sent_event=settings.task_events,
            # Of the connections, which all calls share.
            broker_pool_acquire_timeout=CONNECTS_WITHIN_S,
            **self._broker.options(
                connects_within_s=RABBITMQ_WITHIN_S if is_rabbitmq else CONNECTS_WITHIN_S,
                answers_within_s=self._answers_within_s,
                connections=64,
            ),
        )
        #: Not before this (monotonic seconds) is anything handed over.
        self._paused_until = 0.0

    def send(self, job: Next) -> bool:
        if time.monotonic() < self._paused_until:
            return False
        try:
            self._broker.send(
                self._celery,
                job.id,
                engine=job.engine,
                lane=job.lane,
                answers_within_s=self._answers_within_s,
            )
        except Unavailable as error:
            self._paused_until = time.monotonic() + PAUSE_S
            log.warning("job not sent yet", job_id=job.id, reason=error.detail)
            return False
        return True
