"""The load that several benchmarks share: large pictures, from an engine that answers at once."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.callers import Connection
from tests.benchmarks.drawing_server import Server
from tests.end_to_end.service import Service

CALLERS = 32
WARM_UP = 64
#: Pictures of one round.
PICTURES = 256

ORDER = {"prompt": "a lighthouse at dusk, oil painting", "size": "1024x1024"}


@contextmanager
def service_before(engine: Server, folder: Path, **settings: object) -> Iterator[Service]:
    """An embedded stack whose default engine is the drawing server."""
    with Service(
        folder,
        log_level="warning",
        images_openai_api_base_url=f"{engine.origin}/v1",
        image_generation_engine="openai",
        image_generation_model="gpt-image-1",
        **settings,
    ) as service:
        yield service


class Ways:
    """The two ways to a picture in a file."""

    def __init__(self, engine: Server, service: Service, folder: Path) -> None:
        self._folder = folder
        self._headers = {"Authorization": f"Bearer {service.key}"}

    def direct(self, connection: Connection, number: int) -> None:
        order = {**ORDER, "model": "gpt-image-1"}
        status, content = connection.call("POST", "/v1/images/generations", order)
        assert status == 200
        picture = base64.b64decode(json.loads(content)["data"][0]["b64_json"])
        (self._folder / f"{number}.png").write_bytes(picture)

    def served(self, connection: Connection, number: int) -> None:
        status, content = connection.call("POST", "/api/images/generations", ORDER, self._headers)
        assert status == 200, content
        assert json.loads(content)[0]["url"]
