"""A Darkroom with every engine: the stand-ins of all four, and what to expect of each."""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from tests.end_to_end.cluster import Cluster
from tests.engines.servers import automatic1111_pictures
from tests.engines.servers.automatic1111 import Automatic1111Server
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.servers.comfyui_paint import colour_of
from tests.engines.servers.gemini import GeminiServer
from tests.engines.servers.openai import OpenAIServer

Colour = tuple[int, int, int]

RED: Colour = (255, 0, 0)

#: What the proxy before ComfyUI asks its callers for.
TOKEN = "token-of-the-proxy-0123456789"

#: What AUTOMATIC1111 asks its callers for.
PASSWORD = "anna:correct-horse-battery"


@dataclass(frozen=True, kw_only=True)
class Servers:
    """The stand-ins, all of them running."""

    openai: OpenAIServer
    gemini: GeminiServer
    comfyui: ComfyUIServer
    automatic1111: Automatic1111Server

    @property
    def secrets(self) -> list[str]:
        """What must never be seen anywhere."""
        basic = base64.b64encode(PASSWORD.encode()).decode()
        return [
            self.openai.key,
            self.gemini.key,
            self.comfyui.key,
            PASSWORD.partition(":")[2],
            basic,
        ]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One engine, the model to ask for, and what it draws."""

    engine: str
    model: str
    #: A size it draws, one it does not, and what it draws instead of that.
    size: str
    misfit: str
    nearest: str
    tells_seed: bool
    #: Whether what is outside a mask stays as it was; it is a hint otherwise.
    obeys_mask: bool
    #: The colour of the picture made of a prompt and a seed at this place among several, where that
    #: is known.
    colour: Callable[[str, int, int], Colour] | None

    @property
    def full_id(self) -> str:
        return f"{self.engine}/{self.model}"


def _of_prompt(prompt: str, _seed: int, _position: int) -> Colour:
    red, green, blue = sha256(prompt.encode()).digest()[:3]
    return red, green, blue


SUBJECTS = (
    Subject(
        engine="builtin",
        model="placeholder",
        size="128x96",
        misfit="32x32",
        nearest="64x64",
        tells_seed=True,
        obeys_mask=True,
        colour=None,
    ),
    Subject(
        engine="openai",
        model="gpt-image-1.5",
        size="1536x1024",
        misfit="1920x1080",
        nearest="1536x1024",
        tells_seed=False,
        obeys_mask=False,
        colour=_of_prompt,
    ),
    Subject(
        engine="gemini",
        model="gemini-2.5-flash-image",
        size="1344x768",
        misfit="1000x1000",
        nearest="1024x1024",
        tells_seed=False,
        obeys_mask=False,
        colour=_of_prompt,
    ),
    Subject(
        engine="comfyui",
        model="dream.safetensors",
        size="128x96",
        misfit="100x100",
        nearest="104x104",
        tells_seed=True,
        obeys_mask=True,
        colour=lambda prompt, seed, position: colour_of(
            prompt, "", seed, "dream.safetensors", position
        ),
    ),
    Subject(
        engine="automatic1111",
        model="dreamscape",
        size="128x96",
        misfit="100x100",
        nearest="104x104",
        tells_seed=True,
        obeys_mask=True,
        colour=lambda _, seed, __: automatic1111_pictures.colour("dreamscape", seed),
    ),
)


@contextmanager
def all_engines(folder: Path, **settings: Any) -> Iterator[tuple[Cluster, Servers]]:
    """A cluster that draws with all of them. Settings go in by keyword."""
    with (
        OpenAIServer() as openai,
        GeminiServer() as gemini,
        ComfyUIServer(key=TOKEN) as comfyui,
        Automatic1111Server(auth=PASSWORD) as automatic1111,
        Cluster(folder, no_proxy="127.0.0.1", **settings) as cluster,
    ):
        answer = cluster.call(
            "POST",
            "/api/images/config/update",
            json={
                "IMAGES_OPENAI_API_BASE_URL": openai.url,
                "IMAGES_OPENAI_API_KEY": openai.key,
                "IMAGES_GEMINI_API_BASE_URL": gemini.url,
                "IMAGES_GEMINI_API_KEY": gemini.key,
                "COMFYUI_BASE_URL": comfyui.origin,
                "COMFYUI_API_KEY": TOKEN,
                "AUTOMATIC1111_BASE_URL": automatic1111.url,
                "AUTOMATIC1111_API_AUTH": PASSWORD,
            },
        )
        assert answer.status_code == 200, answer.text
        yield (
            cluster,
            Servers(openai=openai, gemini=gemini, comfyui=comfyui, automatic1111=automatic1111),
        )


def pictures(cluster: Cluster, answer: requests.Response) -> list[Image.Image]:
    """The pictures behind an answer's URLs, as they download."""
    assert answer.status_code == 200, answer.text
    found = []
    for each in answer.json():
        content = cluster.call("GET", each["url"])
        assert content.headers["Content-Type"] == each["content_type"]
        found.append(Image.open(io.BytesIO(content.content)).convert("RGB"))
    return found


def details(cluster: Cluster, answer: requests.Response) -> Any:
    """The job behind an answer."""
    return cluster.job(answer.headers["Darkroom-Job"])


def plain(colour: Colour) -> str:
    """A picture to change, as a data URL."""
    return _data_url(Image.new("RGB", (128, 128), colour))


def half_mask() -> str:
    """A mask for it that lets the right half be repainted."""
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (64, 0, 128, 128))
    return _data_url(mask)


def _data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
