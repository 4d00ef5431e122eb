"""Deletes what is kept no longer, a little at a time."""

import redis
import structlog

from storage import Storage
from storage.retention import Limits

log = structlog.get_logger(__name__)

LOCK = "darkroom:retention"

#: How often one of all workers looks, in seconds.
EVERY_S = 300


def prune(storage: Storage, limits: Limits) -> int:
    """Delete the pictures that are over a limit; returns how many. Raises Unavailable."""
    deleted = 0
    while due := storage.retention.due(limits):
        for image in due:
            storage.gallery.delete(image)
        deleted += len(due)
    if deleted:
        log.info("old pictures deleted", count=deleted)
    return deleted


def prune_in_turn(storage: Storage, broker: "redis.Redis", limits: Limits) -> None:
    """Do so when no other worker did lately; without a broker, another time."""
    if not limits.are_set:
        return
    try:
        has_turn = broker.set(LOCK, "1", nx=True, ex=EVERY_S)
    except redis.RedisError as error:
        log.warning("retention put off", reason=str(error))
        return
    if has_turn:
        prune(storage, limits)
