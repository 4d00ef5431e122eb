"""A port for Prometheus on a machine without an API."""

import errno
import hmac
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from darkroom.settings import Settings
from darkroom.watch.meters import meters

log = structlog.get_logger(__name__)

#: How long a caller may take to send its request, in seconds.
PATIENCE_S = 5.0

Start = Callable[[str, list[tuple[str, str]]], Any]


class Exporter:
    """Answers `GET /metrics` on the configured port, if there is one and it is free."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server: WSGIServer | None = None
        self._is_said = False

    def see_to_it(self) -> None:
        """Open the port, unless another worker of this machine has it: then try again later."""
        settings = self._settings
        if settings.metrics_port is None or self._server is not None:
            return
        try:
            self._server = make_server(
                settings.metrics_host,
                settings.metrics_port,
                self._answer,
                server_class=_Server,
                handler_class=_Handler,
            )
        except OSError as error:
            if not self._is_said and error.errno != errno.EADDRINUSE:
                log.warning("no port for metrics", reason=str(error))
            self._is_said = True
            return
        thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        thread.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _answer(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/metrics":
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Ask for /metrics.\n"]
        if not bears(self._settings.metrics_token, environ.get("HTTP_AUTHORIZATION", "")):
            start("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
            return [b"Send DARKROOM_METRICS_TOKEN as `Authorization: Bearer ...`.\n"]
        registry = CollectorRegistry()
        meters().add_to(registry)
        start("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [generate_latest(registry)]


def bears(token: str | None, authorization: str) -> bool:
    """Whether a header shows the token; where none is asked for, any does."""
    return token is None or hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE_S

    def log_message(self, *_: object) -> None:
        """Asked too often to be worth a line."""
