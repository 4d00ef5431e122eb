"""Takes the pictures out of an OpenAI-style answer: inline, or behind a link that soon expires."""

import binascii
import logging
import time
from collections.abc import Iterable
from typing import Any

import pybase64

from darkroom.domain import GeneratedImage
from darkroom.errors import EngineError, EngineFailed
from engines.http import Http
from engines.openai_address import Address

logger = logging.getLogger(__name__)

LARGEST_PICTURE_BYTES = 64 * 1024 * 1024
#: A download may be tried again: it costs nothing, and the picture is paid for.
DOWNLOADS = 2


class PictureReader:
    """Reads the items of an answer's `data`."""

    def __init__(self, http: Http, address: Address) -> None:
        self._http = http
        self._address = address

    def read(self, items: Iterable[Any], deadline: float) -> list[GeneratedImage]:
        """The pictures that can be had, at least one, before `deadline` on the monotonic clock.

        Raises EngineFailed when there is none.
        """
        images: list[GeneratedImage] = []
        lost: EngineFailed | None = None
        for item in items:
            try:
                images.append(self._read_one(item, deadline))
            except EngineFailed as error:
                logger.warning("A drawn picture is lost: %s", error.detail)
                lost = lost or error
        if not images and lost is not None:
            raise lost
        return images

    def _read_one(self, item: Any, deadline: float) -> GeneratedImage:
        content = item if isinstance(item, dict) else {}
        encoded, url, revised = (
            value if isinstance(value := content.get(key), str) and value else None
            for key in ("b64_json", "url", "revised_prompt")
        )
        if encoded is None and url is not None and not url.startswith("data:"):
            data = self._download(url, deadline)
        else:
            data = self._decode(encoded or url or "")
        return GeneratedImage(data=data, revised_prompt=revised)

    def _decode(self, text: str) -> bytes:
        if text.startswith("data:"):
            text = text.partition(",")[2]
        try:
            data = pybase64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self._failed("answered with a picture that cannot be decoded") from error
        if not data:
            raise self._failed("answered without a picture")
        return data

    def _download(self, url: str, deadline: float) -> bytes:
        # Links lead to file servers of all kinds, and only the engine itself may see its key.
        signed = self._address.owns(url)
        problem = ""
        for _ in range(DOWNLOADS):
            try:
                answer = self._http.call(
                    "GET",
                    url,
                    signed=signed,
                    timeout_s=deadline - time.monotonic(),
                    largest_bytes=LARGEST_PICTURE_BYTES,
                )
            except EngineError as error:
                # As it stands it would say that nothing was drawn.
                problem = error.detail
                continue
            if answer.is_success and answer.body:
                return answer.body
            problem = f"Its file server answered with status {answer.status}."
        raise self._failed(f"drew a picture that cannot be downloaded. {problem}")

    def _failed(self, what: str) -> EngineFailed:
        return EngineFailed(f"Engine {self._http.engine!r} {what.rstrip('.')}.")
