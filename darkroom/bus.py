"""Redis as Darkroom uses it besides Celery: news of finished jobs, and signs of life of workers.

The database answers, Redis only wakes: everything here may be lost without losing a job.
"""

import time
from urllib.parse import parse_qs

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from darkroom.errors import SettingsError
from darkroom.settings import Settings

#: Channel on which the id of each finished job is published.
FINISHED = "darkroom:finished"

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


def broker_url(settings: Settings) -> str:
    """The broker's URL. Raises SettingsError when none is configured."""
    if settings.redis_url is None:
        raise SettingsError(
            "DARKROOM_REDIS_URL is not set: give the broker's URL, or start everything at once"
            " with `darkroom up`."
        )
    return settings.redis_url


def celery_url(settings: Settings) -> str:
    """The broker's URL as Celery spells it: unix sockets go by another scheme than in redis-py.

    Raises SettingsError when none is configured.
    """
    url = broker_url(settings)
    if not url.startswith("unix://"):
        return url
    address, _, query = url.removeprefix("unix://").partition("?")
    (number,) = parse_qs(query).get("db", ["0"])
    return f"redis+socket://{address}?virtual_host={number}"


def connect(settings: Settings) -> "redis.Redis":
    """A client for short commands: 3 s to answer, then `redis.ConnectionError`.

    Every limit is spelled out, because redis-py's defaults change between releases and hide
    retries that add up to a minute.
    """
    return redis.Redis.from_url(
        broker_url(settings),
        socket_connect_timeout=3,
        socket_timeout=3,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=25,
        max_connections=64,
        decode_responses=True,
    )


def announce_finished(client: "redis.Redis", job_id: str) -> None:
    """Wake whoever waits for the job. Call it after the row is committed.

    Raises redis.RedisError; the waiters' own re-check makes a lost message cost seconds only.
    """
    client.publish(FINISHED, job_id)


def living_workers(client: "redis.Redis") -> list[str]:
    """The names of the worker processes that gave a sign of life lately.

    Raises redis.RedisError.
    """
    return [str(name) for name in client.zrange(WORKERS, time.time(), "+inf", byscore=True)]


def give_sign_of_life(client: "redis.Redis", worker: str, *, lasts_s: float) -> None:
    """Count as living for `lasts_s` seconds. Raises redis.RedisError."""
    now = time.time()
    client.zadd(WORKERS, {worker: now + lasts_s})
    client.zremrangebyscore(WORKERS, "-inf", now - 3600)


def sign_off(client: "redis.Redis", worker: str) -> None:
    """Count as living no longer. Raises redis.RedisError."""
    client.zrem(WORKERS, worker)
