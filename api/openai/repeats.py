"""A call that the SDK sends again finds the job of the first.

The SDK repeats calls by itself, and says so in a header, but sends no idempotency key. So a repeat
looks for a job of the same user and the same request that no call has been answered with yet. A
call that is no repeat never does: two of the same are two jobs. What became of the calls is noted
in Redis, so that one of two such jobs goes to the repeat of each; while Redis is away a repeat may
find a job that was answered already, but never draws twice.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum

import redis
import structlog
from flask import request

from api.auth import current_user
from api.orders import Order
from api.services import Services
from api.submission import submit
from darkroom.domain import Job

log = structlog.get_logger(__name__)

RETRY_COUNT = "x-stainless-retry-count"

#: How long ago the first call may have come, and how long its job may be finished, in seconds.
ACCEPTED_WITHIN_S = 3600
FINISHED_WITHIN_S = 600


class Call(StrEnum):
    """What is known of the call that a job was made for, or that found it last."""

    #: It waits for the job, or broke off and nobody noticed.
    WAITING = "waiting"
    #: It was told how the job ended.
    ANSWERED = "answered"


def accept(order: Order, services: Services) -> Job:
    """The job for this call: that of the call it repeats, or a new one. Raises as `submit`."""
    job = _repeated(order, services) if is_repeat() else None
    if job is None:
        job = submit(order, services)
    _note(job.id, Call.WAITING, services)
    return job


def answering(made_id: str, chunks: Iterable[bytes], services: Services) -> Iterator[bytes]:
    """The body that tells how a job ended, or which batch was made; noted once all was sent."""
    yield from chunks
    answered(made_id, services)


def answered(made_id: str, services: Services) -> None:
    """Note that a call was told what it was to be told: no repeat is to have it."""
    _note(made_id, Call.ANSWERED, services)


def was_answered(made_id: str, services: Services) -> bool:
    """Whether a call was told; False while nobody knows, so that nothing is made twice."""
    try:
        return services.broker.get(_key(made_id)) == Call.ANSWERED
    except redis.RedisError as error:
        log.warning("repeated call guessed", reason=str(error))
        return False


def give_up(job: Job, services: Services) -> None:
    """Note that no call waits for the job any more: the next repeat may have it."""
    try:
        services.broker.delete(_key(job.id))
    except redis.RedisError as error:
        log.warning("end of a wait not noted", job_id=job.id, reason=str(error))


def is_repeat() -> bool:
    """Whether the SDK sends this call again by itself."""
    count = request.headers.get(RETRY_COUNT, "")
    return count.isascii() and count.isdecimal() and int(count[:9]) > 0


def _repeated(order: Order, services: Services) -> Job | None:
    if "Idempotency-Key" in request.headers:
        return None
    found = services.storage.jobs.alike(
        current_user().id,
        order.digest(),
        within_s=ACCEPTED_WITHIN_S,
        finished_within_s=FINISHED_WITHIN_S,
    )
    try:
        return _unanswered(found, services.broker)
    except redis.RedisError as error:
        log.warning("repeated call guessed", reason=str(error))
        return found[0] if found else None


def _unanswered(jobs: Iterable[Job], broker: "redis.Redis") -> Job | None:
    """The newest that no call waits for, or else the newest whose call may have broken off."""
    waited_for = None
    for job in jobs:
        if broker.set(_key(job.id), Call.WAITING, nx=True, ex=ACCEPTED_WITHIN_S):
            return job
        if waited_for is None and broker.get(_key(job.id)) == Call.WAITING:
            waited_for = job
    return waited_for


def _note(job_id: str, call: Call, services: Services) -> None:
    try:
        services.broker.set(_key(job_id), call, ex=ACCEPTED_WITHIN_S)
    except redis.RedisError as error:
        log.warning("call not noted", job_id=job_id, call=call, reason=str(error))


def _key(job_id: str) -> str:
    return f"darkroom:openai-call:{job_id}"
