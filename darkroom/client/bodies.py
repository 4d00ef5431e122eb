"""What is sent: fields of a request, and pictures in the forms that the server reads."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from darkroom.client.records import Image
from darkroom.errors import InvalidRequest

#: A picture to change: a local file, its bytes, one that the server has, or as text the id of a
#: file, a URL, a data URL or base64.
Picture: TypeAlias = Path | bytes | Image | str


def said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without those that are None: they mean the same as nothing."""
    return {name: value for name, value in fields.items() if value is not None}


def sent_pictures(pictures: Picture | Sequence[Picture]) -> list[str]:
    """One or several pictures, as the server reads them. Raises InvalidRequest."""
    several = [pictures] if isinstance(pictures, Path | bytes | Image | str) else pictures
    return [sent_picture(each) for each in several]


def sent_picture(picture: Picture) -> str:
    """Raises InvalidRequest when a local file cannot be read."""
    match picture:
        case Image():
            return picture.id
        case Path():
            try:
                return _base64(picture.read_bytes())
            except OSError as error:
                raise InvalidRequest(
                    f"{picture} cannot be read: {error.strerror}.", param="image"
                ) from error
        case bytes():
            return _base64(picture)
        case _:
            return picture


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
