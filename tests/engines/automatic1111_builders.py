"""What the tests of the AUTOMATIC1111 driver need; a test names only what matters to it."""

import io
import time
from collections.abc import Callable
from dataclasses import replace
from threading import Event, Thread
from typing import Any, Self

import requests
from PIL import Image

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, InputImage, Operation, Size
from engines.automatic1111 import Automatic1111
from engines.base import Task
from engines.catalog import Catalog
from tests.engines.builders import a_task, opened
from tests.engines.servers.automatic1111 import Automatic1111Server

RED = (255, 0, 0)


def engine_at(server: Automatic1111Server, **parts: Any) -> Automatic1111:
    values = {"base_url": server.url, "api_key": server.auth or "", **parts}
    return Automatic1111(EngineConfig(name="automatic1111", **values), Catalog())


def with_params(server: Automatic1111Server, **params: Any) -> Automatic1111:
    """The engine of an admin who wants these in every request."""
    return engine_at(server, options={"params": params})


def an_edit(
    picture: Image.Image, *, model: str = "default", mask: Image.Image | None = None, **rest: Any
) -> Task:
    size = Size(*picture.size)
    image = InputImage(data=png(picture), content_type="image/png", size=size)
    task = a_task(model, operation=Operation.EDIT, **rest)
    return replace(task, images=(image,), mask=None if mask is None else png(mask))


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def plain(width: int = 128, height: int = 128, colour: tuple[int, int, int] = RED) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def pixel(image: GeneratedImage, x: int = 0, y: int = 0) -> Any:
    return opened(image.data).convert("RGB").getpixel((x, y))


def wait_until(is_true: Callable[[], Any]) -> None:
    patience = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < patience, "it never came to that"
        time.sleep(0.005)


class Neighbour:
    """Another client of the same server, which draws one picture for itself.

    It leaves the server's lock when told to, or after its steps.
    """

    def __init__(self, server: Automatic1111Server, *, steps: int = 60, prompt: str = "neighbour"):
        self.server, self.prompt = server, prompt
        self._body = {"prompt": prompt, "steps": steps, "width": 64, "height": 64, "seed": 1}
        self.answer: Any = None
        self._thread = Thread(target=self._draw)

    def _draw(self) -> None:
        url = f"{self.server.url}/sdapi/v1/txt2img"
        self.answer = requests.post(url, json=self._body, timeout=30).json()

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: any(each.prompt == self.prompt for each in self.server.runs))
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


class Stop:
    """Raises `error` from the progress once `when` is true."""

    def __init__(self, error: BaseException, when: Callable[[], Any]) -> None:
        self.error, self.when = error, when
        self.is_raised = Event()

    def __call__(self) -> None:
        if self.when():
            self.is_raised.set()
            raise self.error
