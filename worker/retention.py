"""Deletes what is kept no longer, a little at a time.

Pictures that are due are gone through from the oldest to the newest, in batches. One that the file
store does not delete is left behind, until the next time all are gone through.
"""

import time
from dataclasses import dataclass

import redis
import structlog

from darkroom.errors import FileStoreUnavailable
from storage import Storage
from storage.retention import Limits, Place

log = structlog.get_logger(__name__)

#: Where the workers have come to, in Redis.
PLACE = "darkroom:retention"
AT_THE_END = "end"

#: Taken by the worker that prunes the audit log, and how often that is, in seconds.
AUDIT = "darkroom:retention:audit"
AUDIT_EVERY_S = 3600

#: How long they pause there, in seconds.
PAUSE_S = 300

#: How long one batch may take, in seconds: whoever deletes has other things to do.
BATCH_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What came of one batch."""

    deleted: int = 0
    #: How many the file store did not delete.
    refused: int = 0
    #: Where the next one begins; None when nothing was due any more.
    place: Place | None = None


def prune(storage: Storage, limits: Limits, *, after: Place | None = None) -> Batch:
    """Delete pictures that are over a limit, those behind `after`, for about `BATCH_S` seconds.

    Raises Unavailable when the database does not answer.
    """
    ends_at = time.monotonic() + BATCH_S
    deleted, refused, place = 0, 0, None
    for image in storage.retention.due(limits, after=after):
        try:
            storage.gallery.delete(image)
            deleted += 1
        except FileStoreUnavailable as error:
            log.warning("old picture not deleted", image_id=image.id, reason=error.detail)
            refused += 1
        place = Place.of(image)
        if time.monotonic() > ends_at:
            break
    if deleted:
        log.info("old pictures deleted", count=deleted)
    return Batch(deleted=deleted, refused=refused, place=place)


def prune_in_turn(storage: Storage, broker: "redis.Redis", limits: Limits) -> None:
    """Delete the batch that is next for all workers; without a broker, another time."""
    if not limits.are_set:
        return
    try:
        come_to = broker.get(PLACE)
        if come_to == AT_THE_END:
            return
        batch = prune(storage, limits, after=Place.parse(str(come_to)) if come_to else None)
        broker.set(PLACE, str(batch.place or AT_THE_END), ex=PAUSE_S)
    except redis.RedisError as error:
        log.warning("retention put off", reason=str(error))


def prune_audit(storage: Storage, broker: "redis.Redis", *, days: float) -> None:
    """Remove entries of the audit log older than that, once an hour for all workers."""
    try:
        is_due = broker.set(AUDIT, "pruned", nx=True, ex=AUDIT_EVERY_S)
    except redis.RedisError as error:
        log.warning("retention of the audit log put off", reason=str(error))
        return
    if is_due and (count := storage.audit.prune(days=days)):
        log.info("old audit entries removed", count=count)
