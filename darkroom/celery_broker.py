"""The server that holds Celery's queues, and all that Celery is told about it.

Redis holds them, or another server beside it: `DARKROOM_BROKER_URL`. Who sends and who works take
their options from here, because RabbitMQ refuses a queue that two declare in two ways.
"""

import ssl
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from amqp import AMQPError
from amqp.exceptions import MessageNacked
from kombu import Exchange, Queue
from kombu.exceptions import KombuError, OperationalError

from darkroom import bus
from darkroom.domain import Lane
from darkroom.errors import Unavailable
from darkroom.settings import Settings
from darkroom.watch.meters import meters

#: By lane, what RabbitMQ calls a message's priority: there the higher number goes first.
RABBITMQ_PRIORITIES = (1, 0)

#: How long the broker may take to answer a worker, in seconds.
WORKER_ANSWERS_WITHIN_S = 3

#: How long the connection of a worker that consumes from RabbitMQ may be silent, in seconds, until
#: it counts as dead.
HEARTBEAT_S = 30

#: Whatever goes wrong between us and the server.
ERRORS = (KombuError, AMQPError, MessageNacked, OSError)

#: How TLS is spelled in a URL, for redis-py as for us.
TLS_PREFIX = "ssl_"
TLS_CHECKS = {"required": ssl.CERT_REQUIRED, "none": ssl.CERT_NONE}


class CeleryBroker:
    """Where Celery's queues live. Opens nothing."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError when no server is configured."""
        self._settings = settings
        self.is_rabbitmq = bus.is_rabbitmq(settings)
        self.url = bus.celery_url(settings)
        self.tls: dict[str, Any] | None = None
        if self.is_rabbitmq:
            self.url, self.tls = _without_tls(self.url)

    def options(
        self, *, connects_within_s: float, answers_within_s: float, connections: int
    ) -> dict[str, Any]:
        """Celery's settings for whoever sends, besides the URL."""
        options: dict[str, Any] = {
            # Attempts at a server that is away add up; the upkeep of workers tries again anyway.
            "task_publish_retry_policy": {
                "max_retries": 2,
                "interval_start": 0,
                "interval_step": 0.1,
                "interval_max": 0.2,
            },
        }
        if not self.is_rabbitmq:
            return options | {
                "broker_transport_options": {
                    "global_keyprefix": bus.CELERY_PREFIX,
                    "priority_steps": list(bus.PRIORITIES),
                    "sep": bus.SEPARATOR,
                    "socket_connect_timeout": connects_within_s,
                    "socket_timeout": answers_within_s,
                    "socket_keepalive": True,
                    "max_connections": connections,
                },
            }
        # One more attempt is for a connection that was closed since; each costs its time-outs.
        options["task_publish_retry_policy"]["max_retries"] = 1
        return options | {
            "broker_use_ssl": self.tls or False,
            "broker_connection_timeout": connects_within_s,
            # Nobody would look after those of a connection that only sends.
            "broker_heartbeat": 0,
            "broker_transport_options": {
                "confirm_publish": True,
                "read_timeout": answers_within_s,
                "write_timeout": answers_within_s,
            },
        }

    def working_options(self, engines: tuple[str, ...]) -> dict[str, Any]:
        """Celery's settings for whoever works, with a queue for each of these engines."""
        options = self.options(
            connects_within_s=3,
            answers_within_s=WORKER_ANSWERS_WITHIN_S if self.is_rabbitmq else 15,
            connections=self._settings.worker_concurrency + 32,
        )
        options |= {"task_queues": [self.queue(each) for each in engines]}
        if not self.is_rabbitmq:
            options["broker_transport_options"] |= {
                # Only a second net: leases find a dead worker's jobs long before.
                "visibility_timeout": 3600,
                "health_check_interval": 25,
            }
            return options
        return options | {
            "broker_heartbeat": HEARTBEAT_S,
            # As when a message was not acknowledged in time: connect anew, running jobs go on.
            "broker_channel_error_retry": True,
            # Else a thread of the pool asks RabbitMQ for more messages, on the connection that
            # Celery's own thread reads: both wait for one answer, and for ever.
            "worker_enable_prefetch_count_reduction": False,
            # An exclusive queue would be locked for a worker that connects anew before RabbitMQ
            # has noticed that the old connection is dead; Celery ends the worker for that.
            "control_queue_exclusive": False,
            "control_queue_durable": True,
        }

    def queue(self, engine: str) -> Queue:
        """The queue that holds one engine's jobs."""
        name = bus.queue_for(engine)
        if not self.is_rabbitmq:
            return Queue(name, routing_key=name)
        return Queue(
            name,
            Exchange(""),
            routing_key=name,
            durable=True,
            max_priority=max(RABBITMQ_PRIORITIES),
            # Where another type is the usual one, priorities would be refused.
            queue_arguments={"x-queue-type": "classic"},
        )

    def send(
        self, app: Any, job_id: str, *, engine: str, lane: Lane, answers_within_s: float
    ) -> None:
        """Hand a job's id to its engine's queue, by this Celery application.

        Raises Unavailable when the server does not take it. RabbitMQ may need its time for each of
        two attempts, and as long to hear that it is left.
        """
        options: dict[str, Any] = {"priority": bus.PRIORITIES[lane]}
        if self.is_rabbitmq:
            options = {
                "priority": RABBITMQ_PRIORITIES[lane],
                "timeout": answers_within_s,
                "confirm_timeout": answers_within_s,
            }
        try:
            app.send_task(
                bus.RUN_JOB, args=[job_id], queue=self.queue(engine), ignore_result=True, **options
            )
        except ERRORS as error:
            meters().is_away("broker")
            raise Unavailable(f"The broker did not take a job: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """What went wrong, in a few words that hold no address and no password."""
    cause = error.__cause__ if isinstance(error, OperationalError) else None
    text = getattr(cause or error, "reply_text", None) or str(error)
    return text or type(error).__name__


def _without_tls(url: str) -> tuple[str, dict[str, Any] | None]:
    """RabbitMQ's URL as kombu knows it, and how TLS is to be spoken; None for not at all."""
    bare, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    own = {name: options.pop(name) for name in list(options) if name.startswith(TLS_PREFIX)}
    url = f"{bare}?{urlencode(options)}" if options else bare
    if urlsplit(url).scheme != "amqps":
        return url, None
    tls: dict[str, Any] = {name.removeprefix(TLS_PREFIX): value for name, value in own.items()}
    checks = tls.get("cert_reqs", "required")
    tls["cert_reqs"] = TLS_CHECKS[checks]
    if checks == "required":
        # With it the name in the certificate is looked at.
        tls["server_hostname"] = urlsplit(url).hostname
    return url, tls
