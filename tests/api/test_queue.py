"""Handing jobs to a broker that does not work."""

import socket
import threading

from api.queue import CeleryQueue
from darkroom.domain import Lane
from darkroom.settings import Settings
from storage.backlog import Next


def test_a_broker_that_did_not_take_a_job_is_left_alone_for_a_while() -> None:
    """Calls would otherwise wait for its time-outs one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls: list[socket.socket] = []

        def hang_up() -> None:
            try:
                while True:
                    calls.append(server.accept()[0])
                    calls[-1].close()
            except OSError:
                return

        thread = threading.Thread(target=hang_up)
        thread.start()
        queue = CeleryQueue(
            Settings(redis_url="redis://unused", broker_url=f"amqp://127.0.0.1:{port(server)}//")
        )
        job = Next(id="job-1", engine="builtin", lane=Lane.INTERACTIVE)

        assert not queue.send(job)
        tried = len(calls)
        assert not queue.send(job)

        assert tried >= 1
        assert len(calls) == tried
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def port(server: socket.socket) -> int:
    return int(server.getsockname()[1])
