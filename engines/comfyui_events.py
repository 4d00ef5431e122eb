"""What the messages of ComfyUI's WebSocket say about one prompt.

The same socket carries news of the queue, of add-ons and of other people's prompts.
"""

import struct
from collections.abc import Collection
from typing import Any

import orjson

PREVIEW = 1
PREVIEW_WITH_METADATA = 4

JsonObject = dict[str, Any]


class Events:
    """Follows one prompt, of which the nodes `samplers` do the work."""

    def __init__(self, prompt_id: str, samplers: Collection[str] = ()) -> None:
        self._prompt_id = prompt_id
        self._samplers = frozenset(samplers)
        self._fractions: dict[str, float] = {}
        #: Only while it runs are previews without a name its own.
        self._is_running = False
        #: The share done, 0.0 to 1.0. Never goes back.
        self.share = 0.0
        #: The newest look of it that nobody took yet, as an encoded picture.
        self.preview: bytes | None = None
        #: Whether the server says that it is over; its history may come a moment later.
        self.is_over = False
        #: Whether there is something to pass on since this was last set to False.
        self.is_news = False

    def take(self, message: bytes | str) -> None:
        """Read one message, text or binary. Whatever is not understood is passed over."""
        content = message.encode() if isinstance(message, str) else message
        if content[:1] in {b"{", b"["}:
            self._take_text(content)
        else:
            self._take_picture(content)

    def _take_text(self, content: bytes) -> None:
        try:
            message = orjson.loads(content)
        except orjson.JSONDecodeError:
            return
        data = message.get("data") if isinstance(message, dict) else None
        if not isinstance(data, dict) or data.get("prompt_id") != self._prompt_id:
            return
        match message.get("type"):
            case "execution_start":
                self._is_running = True
            case "executing" if data.get("node") is None:
                # After a success, an error and an interruption alike.
                self._is_running, self.is_over, self.is_news = False, True, True
            case "executing":
                self._is_running = True
            case "progress":
                self._advance(str(data.get("node")), data)
            case "progress_state":
                nodes = data.get("nodes")
                for node_id, state in nodes.items() if isinstance(nodes, dict) else ():
                    if isinstance(state, dict):
                        self._advance(node_id, state)

    def _advance(self, node_id: str, state: JsonObject) -> None:
        done, most = state.get("value"), state.get("max")
        if not isinstance(done, int | float) or not isinstance(most, int | float) or most <= 0:
            return
        if self._samplers and node_id not in self._samplers:
            return
        self._fractions[node_id] = min(max(done / most, 0.0), 1.0)
        share = sum(self._fractions.values()) / max(len(self._samplers), len(self._fractions))
        if share > self.share:
            self.share, self.is_news = share, True

    def _take_picture(self, content: bytes) -> None:
        try:
            kind, second = struct.unpack_from(">II", content)
        except struct.error:
            return
        if kind == PREVIEW and self._is_running:
            self._show(content[8:])
        elif kind == PREVIEW_WITH_METADATA:
            try:
                metadata = orjson.loads(content[8 : 8 + second])
            except orjson.JSONDecodeError:
                return
            if isinstance(metadata, dict) and metadata.get("prompt_id") == self._prompt_id:
                self._show(content[8 + second :])

    def _show(self, picture: bytes) -> None:
        if picture:
            self.preview, self.is_news = picture, True
