"""Redis as Darkroom uses it besides Celery: news of finished jobs, and signs of life of workers.

The database answers, Redis only wakes: everything here may be lost without losing a job.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from darkroom.errors import SettingsError
from darkroom.settings import Settings
from darkroom.watch.meters import meters

#: Channel on which the id of each finished job is published.
FINISHED = "darkroom:finished"

#: Channel on which the id of a job is published whenever something else about it changed.
CHANGED = "darkroom:changed"

#: Celery's priorities, of which 0 goes first, by lane: interactive jobs, then batches.
PRIORITIES = (0, 9)

#: What separates a queue's name from a priority in Redis' keys.
SEPARATOR = ":"

#: Sent jobs per worker slot and lane. Above one, so that a slot that falls free finds its next job
#: in Redis; small, so that the order is decided late.
WINDOW_PER_SLOT = 1.5

#: The window while no worker gives a sign of life: the first to come finds something to do.
LEAST_WINDOW = 8

#: Sorted set of the running worker processes, by the Unix time until which each counts as living.
WORKERS = "darkroom:workers"

#: A key that is only ever missing when Redis lost its data: the queued jobs are then sent again.
EPOCH = "darkroom:epoch"

#: Celery puts this before each of its keys, so that other applications can share the Redis.
CELERY_PREFIX = "darkroom:celery:"

#: The name of the Celery task that runs one job; its only argument is the job's id.
RUN_JOB = "darkroom.run_job"


def queue_for(engine: str) -> str:
    """The name of the Celery queue that holds one engine's jobs."""
    return f"engine.{engine}"


def redis_url(settings: Settings) -> str:
    """The Redis for all but Celery, and usually for Celery too. Raises SettingsError when none is
    configured."""
    if settings.redis_url is None:
        raise SettingsError(
            "DARKROOM_REDIS_URL is not set: give the URL of a Redis, or start everything at once"
            " with `darkroom up`."
        )
    return settings.redis_url


def queues_url(settings: Settings) -> str:
    """The server that holds Celery's queues. Raises SettingsError when none is configured."""
    return settings.broker_url or redis_url(settings)


def is_rabbitmq(settings: Settings) -> bool:
    """Whether RabbitMQ holds Celery's queues."""
    return (settings.broker_url or "").startswith(("amqp://", "amqps://"))


def celery_url(settings: Settings) -> str:
    """The URL of Celery's queues as Celery spells it, so that both mean the same server, database
    and trust.

    Raises SettingsError when none is configured.
    """
    url = queues_url(settings)
    if is_rabbitmq(settings):
        return url
    scheme, _, rest = url.partition("://")
    address, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    if scheme == "unix":
        return f"redis+socket://{address}?virtual_host={options.get('db', '0')}"
    if scheme == "rediss":
        # Celery would trust any certificate, redis-py does not.
        options.setdefault("ssl_cert_reqs", "required")
    if "db" in options:
        address = f"{address.partition('/')[0]}/{options.pop('db')}"
    return f"{scheme}://{address}?{urlencode(options)}" if options else f"{scheme}://{address}"


def connect(settings: Settings, *, answers_within_s: float = 3, retries: int = 1) -> "redis.Redis":
    """A client for short commands to the Redis for all but Celery."""
    # With queues elsewhere it is no broker any more.
    part = "broker" if settings.broker_url is None else "redis"
    return connect_to(
        redis_url(settings), part=part, answers_within_s=answers_within_s, retries=retries
    )


def connect_to(
    url: str, *, part: str, answers_within_s: float = 3, retries: int = 1
) -> "redis.Redis":
    """A client for short commands: 3 s to answer, then `redis.ConnectionError`. What fails for good
    counts as an outage of this part.

    Every limit is spelled out, because redis-py's defaults change between releases and hide
    retries that add up to a minute.
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=answers_within_s,
        socket_timeout=answers_within_s,
        retry=_CountedRetry(NoBackoff(), retries, part=part),
        health_check_interval=25,
        max_connections=64,
        decode_responses=True,
    )


class _CountedRetry(Retry):
    """Counts what fails for good."""

    def __init__(self, *args: Any, part: str) -> None:
        super().__init__(*args)
        self._part = part

    def call_with_retry(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().call_with_retry(*args, **kwargs)
        except redis.RedisError:
            meters().is_away(self._part)
            raise


def now(client: "redis.Redis") -> float:
    """Unix time by the broker's clock. Raises redis.RedisError."""
    seconds, microseconds = client.time()
    return float(seconds) + float(microseconds) / 1e6


def announce_finished(client: "redis.Redis", job_id: str) -> None:
    """Wake whoever waits for the job. Call it after the row is committed.

    Raises redis.RedisError; the waiters' own re-check makes a lost message cost seconds only.
    """
    client.publish(FINISHED, job_id)


def announce_changed(client: "redis.Redis", job_id: str) -> None:
    """Tell whoever follows the job that there is news. Raises redis.RedisError."""
    client.publish(CHANGED, job_id)


@dataclass(frozen=True, kw_only=True)
class Hand:
    """One living worker process."""

    name: str
    #: How many jobs it can run at once.
    slots: int
    #: Whose jobs it takes; None for those of all engines.
    engines: frozenset[str] | None = None

    @property
    def entry(self) -> str:
        """How it is written in Redis. A release that knew no engines reads its slots too."""
        written = f"{self.slots}@{self.name}"
        return written if self.engines is None else f"{written}@{','.join(sorted(self.engines))}"

    @classmethod
    def read(cls, entry: str) -> Self:
        slots, _, rest = entry.partition("@")
        name, is_limited, engines = rest.partition("@")
        return cls(
            name=name,
            slots=int(slots),
            engines=frozenset(engines.split(",")) if is_limited else None,
        )

    def serves(self, engine: str) -> bool:
        return self.engines is None or engine in self.engines


@dataclass(frozen=True)
class Staff:
    """All living worker processes at one moment."""

    hands: tuple[Hand, ...] = ()

    def slots(self, engine: str) -> int:
        """How many jobs of an engine they can run at once."""
        return sum(each.slots for each in self.hands if each.serves(engine))

    def window(self, engine: str) -> int:
        """How many sent jobs each lane of an engine may have in Celery's queues."""
        return max(int(self.slots(engine) * WINDOW_PER_SLOT), LEAST_WINDOW)

    def unserved(self, engines: Iterable[str]) -> list[str]:
        """Those whose jobs none of them takes, so that they wait."""
        return [each for each in engines if self.slots(each) == 0]


def unserved_in_words(engines: Sequence[str]) -> str:
    """What to do about engines whose jobs nobody takes."""
    return (
        f"No worker takes jobs of {', '.join(engines)}: they wait until you start one, with"
        f" `darkroom worker --engine {engines[0]}` or without the option for all engines."
    )


def staff(client: "redis.Redis") -> Staff:
    """The worker processes that gave a sign of life lately. Raises redis.RedisError."""
    return Staff(tuple(Hand.read(each) for each in living_workers(client)))


def is_queue_empty(client: "redis.Redis", engine: str) -> bool:
    """Whether Celery holds no id for this engine that a worker could take.

    Raises redis.RedisError.
    """
    name = CELERY_PREFIX + queue_for(engine)
    keys = [name, *(f"{name}{SEPARATOR}{priority}" for priority in PRIORITIES[1:])]
    return not any(client.llen(key) for key in keys)


def living_workers(client: "redis.Redis") -> list[str]:
    """The worker processes that gave a sign of life lately, each as `Hand.entry`.

    Raises redis.RedisError.
    """
    return [str(name) for name in client.zrange(WORKERS, time.time(), "+inf", byscore=True)]


def slots(client: "redis.Redis") -> int:
    """How many jobs all living workers can run at once. Raises redis.RedisError."""
    return sum(each.slots for each in staff(client).hands)


def give_sign_of_life(client: "redis.Redis", hand: Hand, *, lasts_s: float) -> None:
    """Count as living for `lasts_s` seconds. Raises redis.RedisError."""
    now = time.time()
    client.zadd(WORKERS, {hand.entry: now + lasts_s})
    client.zremrangebyscore(WORKERS, "-inf", now - 3600)


def sign_off(client: "redis.Redis", hand: Hand) -> None:
    """Count as living no longer. Raises redis.RedisError."""
    client.zrem(WORKERS, hand.entry)
