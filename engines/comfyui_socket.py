"""ComfyUI's WebSocket: a hint of how far a prompt is. What counts is its history.

A connection has a client id of its own, is never opened twice, and may fail or fall silent at any
time without harm.
"""

import logging
import time
from contextlib import suppress
from typing import Self
from urllib.parse import urlencode

import orjson
import websocket

from engines.comfyui_events import Events

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
#: How long the first message may take; from then on the server surely sends events here.
GREETING_TIMEOUT_S = 1.0

#: Must be the first message. Previews then say which prompt they are of.
FEATURES = orjson.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})


class EventSocket:
    """One connection, or none where the server does not take one."""

    def __init__(self, connection: websocket.WebSocket | None) -> None:
        self._connection = connection

    @classmethod
    def open(cls, url: str, client_id: str, headers: dict[str, str]) -> Self:
        """Connect within a few seconds. Raises nothing: without it the history is asked alone."""
        connection = websocket.WebSocket()
        try:
            connection.connect(
                f"{url}?{urlencode({'clientId': client_id})}",
                timeout=CONNECT_TIMEOUT_S,
                header=[f"{key}: {value}" for key, value in headers.items()],
                # The server turns away whoever names a foreign origin.
                suppress_origin=True,
                redirect_limit=0,
            )
            connection.send(FEATURES.decode())
            connection.settimeout(GREETING_TIMEOUT_S)
            connection.recv()
        except (websocket.WebSocketException, OSError, ValueError) as error:
            logger.info(
                "No events from ComfyUI, its history is asked instead: %s", type(error).__name__
            )
            connection.shutdown()
            return cls(None)
        return cls(connection)

    def listen(self, events: Events, seconds: float) -> None:
        """Take in what comes within `seconds`; less when the end of the prompt is announced."""
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            if self._connection is None:
                time.sleep(left_s)
                return
            try:
                self._connection.settimeout(left_s)
                _, message = self._connection.recv_data()
            except websocket.WebSocketTimeoutException:
                return
            except (websocket.WebSocketException, OSError) as error:
                logger.info(
                    "ComfyUI's events ended, its history is asked instead: %s", type(error).__name__
                )
                self.close()
                continue
            events.take(message)
            if events.is_news:
                return

    def close(self) -> None:
        if self._connection is not None:
            # Without a farewell, which the server could let us wait for.
            with suppress(OSError):
                self._connection.shutdown()
        self._connection = None
