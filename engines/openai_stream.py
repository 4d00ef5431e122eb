"""A picture that is shown while it is drawn, as OpenAI streams it."""

import binascii
from typing import Any

import pybase64

from darkroom.domain import Progress
from engines.events import Event


class PictureStream:
    """Follows one streamed answer: shows what is unfinished, keeps what is final."""

    def __init__(self, progress: Progress, *, partial_images: int) -> None:
        self._progress = progress
        self._partial_images = partial_images
        self._shown = 0
        #: The finished picture, like an item of an answer that is not streamed.
        self.final: dict[str, Any] | None = None
        #: The vendor's words, where it broke off.
        self.error: Event | None = None

    @property
    def is_begun(self) -> bool:
        """Whether anything was drawn for sure."""
        return self._shown > 0

    def take(self, event: Event) -> bool:
        """Whether `event` is the last that matters. Raises what `progress` does."""
        content = event.json()
        if not isinstance(content, dict):
            # For example `[DONE]`.
            return False
        kind = str(content.get("type") or event.name)
        if kind in {"image_generation.completed", "image_edit.completed"}:
            # It may come before the unfinished ones, and nobody needs those any more.
            self.final = content
            return True
        if "error" in {kind, event.name} or content.get("error"):
            self.error = event
            return True
        if kind in {"image_generation.partial_image", "image_edit.partial_image"}:
            self._show(content)
        return False

    def _show(self, content: dict[str, Any]) -> None:
        self._shown = min(self._shown + 1, self._partial_images)
        try:
            preview = pybase64.b64decode(content["b64_json"], validate=True)
        except (KeyError, TypeError, binascii.Error, ValueError):
            # The picture itself may still come.
            return
        self._progress(self._shown / (self._partial_images + 1), preview=preview)
