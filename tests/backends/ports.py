"""Ports for servers that tests start."""

import itertools
import random
import socket

#: Below those that systems hand out by themselves, so that no connection that somebody opens gets
#: one of ours between now and the start of the server.
FIRST, LAST = 16_000, 32_000

_ports = itertools.cycle(random.sample(range(FIRST, LAST), LAST - FIRST))


def free_port() -> int:
    """A port of this machine that nobody listens on, and that this process never named before."""
    return next(port for port in _ports if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
