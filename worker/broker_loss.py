"""A worker outlives its broker.

Celery 5.7.0 closes the connection of a broker that went away, and closing puts the messages of
running jobs back through a channel that is gone: kombu 5.7.0 fails there with an AttributeError,
which the worker takes for fatal and exits. Raised as a connection error instead, it ends in the
reconnect that was meant. Newer releases are left alone; `tests/end_to_end` kills a broker under
running jobs to notice when this can go, or must change.
"""

from importlib.metadata import version
from typing import Any

from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as RedisConnectionError

AFFECTED = "5.7.0"


def survive_broker_loss() -> None:
    """Patch the one method, in the one release that needs it."""
    if version("kombu") != AFFECTED:
        return
    channel_class: Any = transport.Channel
    original = channel_class._connparams

    def connparams(channel: Any, asynchronous: bool = False) -> Any:
        if getattr(channel.connection, "client", None) is None:
            raise RedisConnectionError("the channel's connection is closed")
        return original(channel, asynchronous=asynchronous)

    channel_class._connparams = connparams
