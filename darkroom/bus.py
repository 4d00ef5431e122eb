"""Redis as Darkroom uses it besides Celery: news of finished jobs, and signs of life of workers.

The database answers, Redis only wakes: everything here may be lost without losing a job.
"""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from darkroom.errors import SettingsError
from darkroom.settings import Settings

#: Channel on which the id of each finished job is published.
FINISHED = "darkroom:finished"

#: Prefix of the keys by which running worker processes are known; they expire by themselves.
WORKERS = "darkroom:workers:"


def queue_for(engine: str) -> str:
    """The name of the Celery queue that holds one engine's jobs."""
    return f"darkroom.{engine}"


def broker_url(settings: Settings) -> str:
    """The broker's URL. Raises SettingsError when none is configured."""
    if settings.redis_url is None:
        raise SettingsError(
            "DARKROOM_REDIS_URL is not set: give the broker's URL, or start everything at once"
            " with `darkroom up`."
        )
    return settings.redis_url


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
