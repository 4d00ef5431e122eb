"""The API as a process: gunicorn with threads, so that a waiting call costs a thread and no more.

`worker_connections` must lie well above the number of threads: it counts held calls too, and
once it is reached nothing else is served, health checks included.
"""

import os
import signal
import socket
import struct
from types import FrameType
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from api import create_app
from api.services import EXTENSION, Services
from darkroom import bus, logs
from darkroom.processes import allow_open_files
from darkroom.secrets import service_secret
from darkroom.settings import Settings
from engines.catalog import Catalog

#: How long a caller may send nothing in the middle of a request, in seconds: it holds a thread.
STALLED_S = 30


def serve(settings: Settings, *, listener: int | None = None) -> None:
    """Serve in the foreground until SIGTERM or SIGINT.

    `listener` is the number of a socket that listens already; without it one is bound to the
    configured address. Raises SettingsError when it cannot run as configured.
    """
    # Asked here, where an error is one line, and not in a process that gunicorn starts again.
    bus.broker_url(settings)
    service_secret(settings)
    Catalog.load(settings.model_catalog)
    allow_open_files()
    _Server(settings, listener).run()


class _Server(BaseApplication):
    """Gunicorn, configured from our settings alone."""

    def __init__(self, settings: Settings, listener: int | None) -> None:
        self._settings = settings
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        options: dict[str, Any] = {
            "bind": (
                f"fd://{self._listener}"
                if self._listener is not None
                else f"{settings.host}:{settings.port}"
            ),
            "workers": settings.api_processes,
            "worker_class": "gthread",
            "threads": settings.api_threads,
            "worker_connections": settings.api_threads * 2 + 512,
            "backlog": 2048,
            "timeout": 60,
            "graceful_timeout": int(settings.stop_s),
            "keepalive": 30,
            "accesslog": None,
            "loglevel": "warning",
            "proc_name": "darkroom-api",
            "when_ready": _announce,
            "post_worker_init": _drain_on_stop,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        logs.configure(self._settings)
        return create_app(self._settings)


def _announce(arbiter: Arbiter) -> None:
    _limit_silence(arbiter)
    where = ", ".join(str(each) for each in arbiter.LISTENERS)
    print(f"darkroom api: ready on {where} (pid {os.getpid()})", flush=True)  # noqa: T201


def _limit_silence(arbiter: Arbiter) -> None:
    """Cut callers off who stop in the middle of a request.

    Gunicorn's threads wait for them forever. Connections take the limit over from the socket that
    listens, which the kernel keeps; Python's own time-outs would be undone by gunicorn.
    """
    for each in arbiter.LISTENERS:
        each.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", STALLED_S, 0))


def _drain_on_stop(worker: Worker) -> None:
    """Let waiting calls answer 202 at once when the process is told to stop."""
    services: Services = worker.wsgi.extensions[EXTENSION]
    stop = signal.getsignal(signal.SIGTERM)

    def drain_and_stop(signum: int, frame: FrameType | None) -> None:
        services.waiter.drain()
        if callable(stop):
            stop(signum, frame)

    signal.signal(signal.SIGTERM, drain_and_stop)
