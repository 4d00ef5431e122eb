"""The API as a process: gunicorn with threads, so that a waiting call costs a thread and no more.

`worker_connections` must lie well above the number of threads: it counts held calls too, and
once it is reached nothing else is served, health checks included.
"""

import gc
import os
import signal
import socket
import struct
import sys
import threading
from types import FrameType
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from api import create_app
from api.services import EXTENSION, Services
from darkroom import bus, logs, watch
from darkroom.processes import allow_open_files, share_heaps
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
    bus.redis_url(settings)
    service_secret(settings)
    Catalog.load(settings.model_catalog)
    allow_open_files()
    share_heaps()
    # Objects that the garbage collector never visits stay in memory that all processes share.
    gc.freeze()
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
            "worker_class": _Worker,
            "threads": settings.api_threads,
            "worker_connections": settings.api_threads * 2 + 512,
            "backlog": 2048,
            "timeout": 60,
            "graceful_timeout": int(settings.drain_s + settings.stop_s),
            "keepalive": 30,
            "accesslog": None,
            "errorlog": None,
            "logger_class": _Log,
            "loglevel": "warning",
            "proc_name": "darkroom-api",
            "when_ready": _announce,
            "post_worker_init": _drain_on_stop,
            "worker_exit": _send_the_rest,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        logs.configure(self._settings)
        watch.start(self._settings, "api")
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


def _send_the_rest(arbiter: Arbiter, worker: ThreadWorker) -> None:
    watch.stop()


class _Log(Logger):
    """Gunicorn's own lines take the way of all others: secrets masked, in the configured format.

    They quote requests that it could not read.
    """

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        self.error_log.propagate = True

    def exception(self, msg: str, *args: object, **options: Any) -> None:
        if isinstance(sys.exception(), BlockingIOError):
            self.warning("A caller was cut off, who stopped in the middle of a request.")
            return
        super().exception(msg, *args, **options)


class _Worker(ThreadWorker):
    """Gunicorn's, but one that refuses connections as soon as it takes no more of them.

    Gunicorn's own keeps its listener until the last call has ended. Who connects meanwhile is
    neither served nor refused, and a proxy then cannot go to another process before it has sent a
    request that it must not repeat.
    """

    def handle(self, conn: Any) -> Any:
        # What cannot be read as a request has no ids, least of all those of the one before.
        structlog.contextvars.clear_contextvars()
        return super().handle(conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                self._accept_all(listener)
                listener.close()

    def _accept_all(self, listener: Any) -> None:
        """Take every connection that was made already: closing the listener would reset them."""
        listener.setblocking(False)
        before = None
        while self.nr_conns != before:
            before = self.nr_conns
            self.accept(listener)


def _drain_on_stop(worker: ThreadWorker) -> None:
    """When the process is told to stop, say so at `/ready`, go on for `drain_s`, and then let
    waiting calls answer 202 at once and stop."""
    services: Services = worker.wsgi.extensions[EXTENSION]
    stop = worker.handle_exit

    def end() -> None:
        services.waiter.drain()
        stop(signal.SIGTERM, None)

    def drain_and_stop(signum: int, frame: FrameType | None) -> None:
        if services.leaving.is_set():
            return
        services.leaving.set()
        # A thread of its own: the one that signals interrupt must go on accepting.
        timer = threading.Timer(services.settings.drain_s, end)
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGTERM, drain_and_stop)
