"""What the tests of the Gemini driver share."""

import io
from typing import Any

from PIL import Image

from darkroom.configuration import EngineConfig
from darkroom.domain import InputImage, Size
from engines.catalog import Catalog
from engines.gemini import Gemini
from tests.engines.servers.gemini import GeminiServer

MODEL = "gemini-3-pro-image"
IMAGEN = "imagen-4.0-generate-001"


def configured(**parts: Any) -> Gemini:
    return Gemini(EngineConfig(name="gemini", **parts), Catalog())


def gemini_for(server: GeminiServer, **options: Any) -> Gemini:
    return configured(base_url=server.url, api_key=server.key, options=options)


def an_input(kind: str = "png", edge: int = 16) -> InputImage:
    return InputImage(data=encoded(kind, edge), content_type=f"image/{kind}", size=Size(edge, edge))


def encoded(kind: str = "png", edge: int = 16, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (edge, edge)).save(buffer, kind.upper())
    return buffer.getvalue()
