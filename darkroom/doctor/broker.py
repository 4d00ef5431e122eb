"""The broker, Redis, and the workers that give a sign of life there."""

import re
import time
from collections.abc import Collection
from typing import Any

import redis

from darkroom import bus
from darkroom.doctor.diagnosis import Diagnosis, doubtful, failed, well
from darkroom.queues import RabbitQueues

#: What kombu's transport asks of a Redis.
OLDEST = (6, 2)

#: Since then RabbitMQ lets a worker keep a message of a classic queue as long as it likes …
RABBITMQ_IS_PATIENT = (4, 3)

#: … and this long before, in seconds, unless its configuration says otherwise; a client cannot ask.
RABBITMQ_PATIENCE_S = 30 * 60


def rabbitmq(queues: RabbitQueues, engines: Collection[str], *, job_timeout_s: float) -> Diagnosis:
    """Whether RabbitMQ answers, has our queues, and lets jobs take their time. Raises
    QueuesAway."""
    begun = time.perf_counter()
    name = queues.describe()
    took_ms = (time.perf_counter() - begun) * 1000
    queues.declare(engines)
    if job_timeout_s >= RABBITMQ_PATIENCE_S and _version(name) < RABBITMQ_IS_PATIENT:
        return doubtful(
            "broker",
            f"{name} answers, but a job may take longer (DARKROOM_JOB_TIMEOUT_S) than the"
            f" {RABBITMQ_PATIENCE_S // 60} minutes after which it takes a message back: see that"
            " consumer_timeout in its rabbitmq.conf is more.",
        )
    return well("broker", f"{name} answers in {took_ms:.1f} ms.")


def set_up(client: "redis.Redis", part: str) -> Diagnosis:
    """Whether a Redis is set up for a queue. Raises redis.RedisError."""
    begun = time.perf_counter()
    client.ping()
    took_ms = (time.perf_counter() - begun) * 1000
    try:
        info: dict[str, Any] = client.info()
    except redis.ResponseError:
        return doubtful(
            part,
            "It answers, but not to INFO: see for yourself that it is Redis 6.2 or newer with"
            " `maxmemory-policy noeviction`.",
        )
    version = str(info.get("valkey_version") or info.get("redis_version", ""))
    if _version(version) < OLDEST:
        return failed(part, f"It is version {version}: Celery needs Redis 6.2 or newer.")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return failed(
            part,
            f"Its maxmemory-policy is {policy}, and it would throw queued ids away: set it to"
            " noeviction.",
        )
    return well(part, f"Version {version} answers in {took_ms:.1f} ms and evicts nothing.")


def workers(client: "redis.Redis", engines: Collection[str]) -> Diagnosis:
    """Who works, for these engines too. Raises redis.RedisError."""
    staff = bus.staff(client)
    if not staff.hands:
        return doubtful(
            "workers",
            "None gives a sign of life; jobs wait. Start one with `darkroom worker`.",
        )
    if unserved := staff.unserved(engines):
        return doubtful("workers", bus.unserved_in_words(unserved))
    slots = sum(each.slots for each in staff.hands)
    return well("workers", f"{len(staff.hands)} with room for {slots} jobs at once.")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", text)[:2])
