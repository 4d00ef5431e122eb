"""A look at Celery's queues: whether the server that holds them answers, and what it lost."""

import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, Protocol, TypeVar

import redis
from amqp import IrrecoverableChannelError, IrrecoverableConnectionError, NotFound
from kombu import Connection

from darkroom import bus
from darkroom.celery_broker import ERRORS, CeleryBroker, reason
from darkroom.settings import Settings
from darkroom.watch.meters import meters

T = TypeVar("T")

#: How long RabbitMQ may take to answer a question, in seconds.
ANSWERS_WITHIN_S = 2

#: What RabbitMQ means when it says no.
REFUSALS = (IrrecoverableChannelError, IrrecoverableConnectionError)

#: A queue that is only ever missing when RabbitMQ lost its data.
EPOCH_QUEUE = "darkroom.epoch"


class QueuesAway(Exception):
    """The server that holds the queues does not answer. What it holds is unknown."""


class QueuesRefused(QueuesAway):
    """It answers that we may not, which no waiting changes."""


class Queues(Protocol):
    """The server that holds Celery's queues. Every method raises QueuesAway."""

    def describe(self) -> str:
        """What it is, such as `RabbitMQ 4.1.3`; asks it."""

    def are_new(self) -> bool:
        """Whether it is new or lost its data, since it was marked."""

    def mark(self) -> None:
        """Let a loss from now on show."""

    def is_empty(self, engine: str) -> bool:
        """Whether it holds no id for this engine that a worker could take."""

    def close(self) -> None:
        """Close the connection, if there is one."""


def open_queues(settings: Settings, broker: "redis.Redis") -> Queues:
    """The queues that these settings name; `broker` is the Redis for all else, where they live
    usually. Connects later, and safe to use from several threads. Raises SettingsError."""
    if bus.is_rabbitmq(settings):
        return RabbitQueues(CeleryBroker(settings))
    if settings.broker_url is None:
        return RedisQueues(broker)
    return RedisQueues(bus.connect_to(settings.broker_url, part="broker"), is_own=True)


class RedisQueues:
    """Celery's queues in Redis."""

    def __init__(self, client: "redis.Redis", *, is_own: bool = False) -> None:
        self._client = client
        self._is_own = is_own

    def describe(self) -> str:
        self._ask(self._client.ping)
        return "Redis"

    def are_new(self) -> bool:
        return not self._ask(lambda: self._client.exists(bus.EPOCH))

    def mark(self) -> None:
        self._ask(lambda: self._client.set(bus.EPOCH, "1"))

    def is_empty(self, engine: str) -> bool:
        return self._ask(lambda: bus.is_queue_empty(self._client, engine))

    def close(self) -> None:
        if self._is_own:
            self._client.close()

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except redis.RedisError as error:
            raise QueuesAway(str(error)) from error


class RabbitQueues:
    """Celery's queues in RabbitMQ. Keeps one connection."""

    def __init__(self, broker: CeleryBroker) -> None:
        self._broker = broker
        #: py-amqp's.
        self._connection: Any = None
        self._lock = threading.Lock()

    def describe(self) -> str:
        def question(channel: Any) -> str:
            properties = channel.connection.server_properties
            return f"{properties.get('product')} {properties.get('version')}"

        return self._ask(question)

    def are_new(self) -> bool:
        return self._ask(lambda channel: _count(channel, EPOCH_QUEUE) is None)

    def mark(self) -> None:
        self._ask(
            lambda channel: channel.queue_declare(
                EPOCH_QUEUE,
                durable=True,
                auto_delete=False,
                arguments={"x-queue-type": "classic"},
            )
        )

    def is_empty(self, engine: str) -> bool:
        return not self._ask(lambda channel: _count(channel, bus.queue_for(engine)))

    def declare(self, engines: Iterable[str]) -> None:
        """Make the queues of these engines, where they are not yet. Raises QueuesAway."""

        def question(channel: Any) -> None:
            for each in engines:
                self._broker.queue(each)(channel).declare()

        self._ask(question)

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _ask(self, question: Callable[[Any], T]) -> T:
        if not self._lock.acquire(timeout=ANSWERS_WITHIN_S):
            raise QueuesAway("Others wait for its answer too.")
        try:
            return self._ask_alone(question)
        except ERRORS as error:
            self._drop()
            if isinstance(error, REFUSALS):
                raise QueuesRefused(reason(error)) from error
            meters().is_away("broker")
            raise QueuesAway(reason(error)) from error
        finally:
            self._lock.release()

    def _ask_alone(self, question: Callable[[Any], T]) -> T:
        if self._connection is not None:
            try:
                return _on_a_channel(self._connection, question)
            except TimeoutError:
                raise
            except ERRORS:
                # It was closed since; nobody listened.
                self._drop()
        self._connection = self._connect()
        return _on_a_channel(self._connection, question)

    def _connect(self) -> Any:
        """One attempt; kombu's own way would make more."""
        connection: Any = Connection(
            self._broker.url,
            ssl=self._broker.tls or False,
            heartbeat=0,
            connect_timeout=ANSWERS_WITHIN_S,
            transport_options={
                "read_timeout": ANSWERS_WITHIN_S,
                "write_timeout": ANSWERS_WITHIN_S,
            },
        )
        return connection.transport.establish_connection()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Closing politely would wait for an answer.
            connection.collect()


def _on_a_channel(connection: Any, question: Callable[[Any], T]) -> T:
    # One for each question: a queue that is missing closes its channel.
    with closing(connection.channel()) as channel:
        return question(channel)


def _count(channel: Any, queue: str) -> int | None:
    """How many messages a queue holds; None when there is no such queue."""
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except NotFound:
        return None
