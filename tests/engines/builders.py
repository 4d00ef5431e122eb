"""Things the tests of engines need; a test names only what matters to it."""

import io
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from darkroom.configuration import EngineConfig, ImagesConfig, assemble
from darkroom.domain import ImageRequest, InputImage, Size
from engines.base import Task
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.servers.openai import OpenAIServer


def a_request(prompt: str = "a lighthouse at dusk", **rest: Any) -> ImageRequest:
    return ImageRequest(prompt=prompt, **rest)


def a_task(
    model: str = "gpt-image-2",
    *,
    timeout_s: float = 20,
    attempt: int = 1,
    upstream_id: str | None = None,
    images: tuple[InputImage, ...] = (),
    mask: bytes | None = None,
    **rest: Any,
) -> Task:
    return Task(
        job_id="job-1",
        model=model,
        request=a_request(**rest),
        images=images,
        mask=mask,
        timeout_s=timeout_s,
        attempt=attempt,
        upstream_id=upstream_id,
    )


def an_input(picture: Image.Image) -> InputImage:
    """A picture to change."""
    return InputImage(data=as_png(picture), content_type="image/png", size=Size(*picture.size))


def as_png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def openai_config(server: OpenAIServer, **options: Any) -> EngineConfig:
    return EngineConfig(name="openai", base_url=server.url, api_key=server.key, options=options)


def comfyui_config(server: ComfyUIServer, **options: Any) -> EngineConfig:
    return EngineConfig(name="comfyui", base_url=server.origin, api_key=server.key, options=options)


def images_config(*, builtin: bool = True, **values: Any) -> ImagesConfig:
    """What an admin configured, by Open WebUI's names."""
    built_in = EngineConfig(name="builtin", options={"enabled": builtin})
    return assemble(values, built_in)


class Reports:
    """Takes the progress of an engine, and stops it when `until` says so."""

    def __init__(self, until: Callable[[], None] = lambda: None) -> None:
        self.shares: list[float] = []
        self.previews: list[bytes] = []
        self.upstream_id: str | None = None
        self._until = until

    def __call__(
        self,
        share: float | None = None,
        *,
        preview: bytes | None = None,
        upstream_id: str | None = None,
    ) -> None:
        if share is not None:
            self.shares.append(share)
        if preview is not None:
            self.previews.append(preview)
        self.upstream_id = upstream_id or self.upstream_id
        self._until()


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until it holds, and fail when it never does."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.005)


def opened(data: bytes) -> Image.Image:
    """The picture in `data`, decoded to its last pixel."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture
