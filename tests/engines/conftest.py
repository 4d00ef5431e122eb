"""What every test of an engine may ask for."""

from collections.abc import Iterator

import pytest

from engines.catalog import Catalog
from engines.gemini import Gemini
from engines.openai_images import OpenAIImages
from tests.engines.builders import openai_config
from tests.engines.gemini_builders import gemini_for
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.servers.gemini import GeminiServer
from tests.engines.servers.openai import OpenAIServer


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-ins are next door, whatever the machine that runs the tests is behind."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def catalog() -> Catalog:
    return Catalog()


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def comfy() -> Iterator[ComfyUIServer]:
    with ComfyUIServer() as server:
        yield server


@pytest.fixture
def openai(server: OpenAIServer, catalog: Catalog) -> OpenAIImages:
    return OpenAIImages(openai_config(server), catalog)


@pytest.fixture
def google() -> Iterator[GeminiServer]:
    with GeminiServer() as server:
        yield server


@pytest.fixture
def gemini(google: GeminiServer) -> Gemini:
    return gemini_for(google)
