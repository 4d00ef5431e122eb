"""Stored pictures."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from darkroom.client.records import Image
from darkroom.client.transport import Call, Transport

CHUNK_BYTES = 256 * 1024


class Files:
    """The pictures of the account that the key belongs to."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self, *, limit: int = 50, after: str | None = None, job_id: str | None = None
    ) -> list[Image]:
        """Own pictures, newest first; continue behind the one with the id `after`."""
        found = self._ask(
            "GET", "/api/v1/files/", {"limit": limit, "after": after, "job_id": job_id}
        )
        return [Image.read(each) for each in found]

    def get(self, image: Image | str) -> Image:
        """What is known of one picture. Raises NotFound."""
        return Image.read(self._ask("GET", f"/api/v1/files/{_id(image)}"))

    def content(self, image: Image | str) -> bytes:
        """A picture's bytes. Raises NotFound."""
        call = Call(method="GET", path=_path(image), is_repeatable=True)
        with self._transport.send(call) as response:
            return response.content

    def download(self, image: Image | str, target: Path | str) -> Path:
        """Save a picture as the file `target`, or in the folder `target` under its own name.

        The file is there whole or not at all. Returns its path. Raises NotFound, or OSError when
        it cannot be written.
        """
        path = Path(target)
        if path.is_dir():
            path /= image.name if isinstance(image, Image) else self.get(image).name
        return download(self._transport, _path(image), path)

    def delete(self, image: Image | str) -> None:
        """Forget a picture. Raises NotFound."""
        self._transport.send(Call(method="DELETE", path=f"/api/v1/files/{_id(image)}")).close()

    def _ask(self, method: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._transport.ask(
            Call(method=method, path=path, params=params or {}, is_repeatable=method == "GET")
        )


def download(transport: Transport, from_path: str, to: Path) -> Path:
    """Save what the server has there, whole or not at all. Raises OSError."""
    draft = to.with_name(f".{to.name}.{secrets.token_hex(4)}.part")

    def save(response: requests.Response) -> None:
        with response, draft.open("wb") as file:
            for piece in response.iter_content(CHUNK_BYTES):
                file.write(piece)

    try:
        call = Call(method="GET", path=from_path, is_repeatable=True, is_streamed=True)
        transport.repeated(call, save)
        return draft.replace(to)
    finally:
        draft.unlink(missing_ok=True)


def _id(image: Image | str) -> str:
    return image if isinstance(image, str) else image.id


def _path(image: Image | str) -> str:
    return f"/api/v1/files/{_id(image)}/content"
