"""The broker, and the workers that give a sign of life there."""

import re
import time
from collections.abc import Collection, Iterator
from typing import Any

import redis

from darkroom import bus
from darkroom.doctor.diagnosis import Diagnosis, doubtful, failed, well

#: What kombu's transport asks of a server.
OLDEST = (6, 2)


def broker(client: "redis.Redis", engines: Collection[str]) -> Iterator[Diagnosis]:
    """Whether it is set up for a queue, and who works, for these engines too. Raises
    redis.RedisError."""
    begun = time.perf_counter()
    client.ping()
    yield _set_up(client, (time.perf_counter() - begun) * 1000)
    yield _workers(bus.staff(client), engines)


def _set_up(client: "redis.Redis", took_ms: float) -> Diagnosis:
    try:
        info: dict[str, Any] = client.info()
    except redis.ResponseError:
        return doubtful(
            "broker",
            "It answers, but not to INFO: see for yourself that it is Redis 6.2 or newer with"
            " `maxmemory-policy noeviction`.",
        )
    version = str(info.get("valkey_version") or info.get("redis_version", ""))
    if tuple(int(each) for each in re.findall(r"\d+", version)[:2]) < OLDEST:
        return failed("broker", f"It is version {version}: Celery needs Redis 6.2 or newer.")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return failed(
            "broker",
            f"Its maxmemory-policy is {policy}, and it would throw queued ids away: set it to"
            " noeviction.",
        )
    return well("broker", f"Version {version} answers in {took_ms:.1f} ms and evicts nothing.")


def _workers(staff: bus.Staff, engines: Collection[str]) -> Diagnosis:
    if not staff.hands:
        return doubtful(
            "workers",
            "None gives a sign of life; jobs wait. Start one with `darkroom worker`.",
        )
    if unserved := staff.unserved(engines):
        return doubtful("workers", bus.unserved_in_words(unserved))
    slots = sum(each.slots for each in staff.hands)
    return well("workers", f"{len(staff.hands)} with room for {slots} jobs at once.")
