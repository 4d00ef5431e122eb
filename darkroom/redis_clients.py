"""Celery's connection to Redis, without a new client for each message.

kombu 5.7 makes a `Redis` object whenever it sends, receives or forgets a message. The object is no
connection, but redis-py 8 fills a table of some hundred entries for each one: half a millisecond of
CPU, three times for each job. One for each channel does the same: a client over a pool of
connections may be shared, between threads too.
"""

from typing import Any

from kombu.transport import redis as transport


def keep_clients() -> None:
    """Let each channel keep its client as long as it keeps its pool of connections."""
    channel_class: Any = transport.Channel
    original = channel_class._create_client
    if getattr(original, "is_kept", False):
        return

    def create_client(channel: Any, asynchronous: bool = False) -> Any:
        if asynchronous:
            # These hold one connection for themselves.
            return original(channel, asynchronous=True)
        kept = channel.__dict__.get("kept_client")
        if kept is None or kept.connection_pool is not channel.pool:
            kept = channel.kept_client = original(channel)
        return kept

    create_client.is_kept = True  # type: ignore[attr-defined]
    channel_class._create_client = create_client
