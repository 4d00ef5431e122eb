"""The pictures of an edit: from what callers send to what engines take.

A picture may be sent as a data URL, as base64, as the id or the URL of an own file, or as an http
or https URL, which is fetched.
"""

import binascii
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

import pybase64
from flask import request

from api.auth import accessible_owner
from api.fetching import MOST_URL_CHARS, CannotFetch, Fetcher
from api.services import Services
from darkroom.domain import InputImage, Size
from darkroom.errors import InvalidPicture, InvalidRequest, NotFound
from storage import Storage
from storage.inspection import MAX_BYTES
from storage.normalizing import normalize, normalize_mask

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Where an own file is, in either dialect.
OWN_PATH = re.compile(rf"(?:/api/v1/files|/v1/images/files)/({UUID.pattern})(?:/content)?")

#: The most that the pictures of one call may hold together: they are all in memory at once.
MAX_TOTAL_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class EditInputs:
    """What an edit works on."""

    images: Sequence[InputImage] = ()
    #: Belongs to the first of them.
    mask: InputImage | None = None

    @property
    def all(self) -> list[InputImage]:
        return [*self.images, *(() if self.mask is None else (self.mask,))]


def read_inputs(images: Sequence[str], mask: str | None, services: Services) -> EditInputs:
    """The pictures and the mask of an order, as it gives them; nothing for one that has none.

    Raises InvalidRequest that names the field, or Unavailable when the file store does not answer.
    """
    reader = _Reader(services)
    found = [reader.image(text, f"image.{place}") for place, text in enumerate(images)]
    if mask is None:
        return EditInputs(images=found)
    return EditInputs(images=found, mask=reader.mask(mask, found[0].size))


class _Reader:
    """Reads the pictures of one call, within the limits of all of them together."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._fetcher = Fetcher(
            largest_bytes=MAX_BYTES, allows_private=services.settings.fetch_private_hosts
        )
        self._read_bytes = 0

    def image(self, text: str, param: str) -> InputImage:
        with _named(param):
            return normalize(self._bytes_of(text, param))

    def mask(self, text: str, size: Size) -> InputImage:
        with _named("mask"):
            return normalize_mask(self._bytes_of(text, "mask"), size)

    def _bytes_of(self, text: str, param: str) -> bytes:
        data = self._read(text.strip(), param)
        self._read_bytes += len(data)
        if self._read_bytes > MAX_TOTAL_BYTES:
            raise _refused(
                param,
                f"With it the pictures have more than {MAX_TOTAL_BYTES // 2**20} MiB together: send"
                " fewer or smaller ones.",
            )
        return data

    def _read(self, text: str, param: str) -> bytes:
        if text.startswith("data:"):
            head, _, encoded = text.partition(",")
            if not head.endswith(";base64"):
                raise _refused(param, "A data URL must be base64: data:image/png;base64,….")
            return _decoded(encoded, param)
        if (file_id := _own_file(text)) is not None:
            return _read_own(file_id, param, self._services)
        if text.startswith(("http://", "https://")):
            return self._fetched(text, param)
        return _decoded(text, param)

    def _fetched(self, url: str, param: str) -> bytes:
        try:
            return self._fetcher.fetch(url)
        except CannotFetch as error:
            raise _refused(param, f"The URL cannot be fetched: {error}.") from error


@contextmanager
def _named(param: str) -> Iterator[None]:
    """Says of a picture that cannot be used which one it is."""
    try:
        yield
    except InvalidPicture as error:
        raise _refused(param, error.detail) from error


def _own_file(text: str) -> str | None:
    """The id of the file of this service that is meant, if one is."""
    if UUID.fullmatch(text):
        return text
    if len(text) > MOST_URL_CHARS:
        # A picture in base64. Python would remember it: it keeps what it took apart last.
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    is_here = not parts.netloc or parts.netloc == request.host
    match = OWN_PATH.fullmatch(parts.path) if is_here else None
    return match[1] if match else None


def _read_own(file_id: str, param: str, services: Services) -> bytes:
    try:
        with _open_own(file_id, services.storage) as file:
            # One byte more than any picture may have is enough to be refused.
            return file.read(MAX_BYTES + 1)
    except NotFound as error:
        raise _refused(param, error.detail) from error


def _open_own(file_id: str, storage: Storage) -> BinaryIO:
    """A picture that was drawn, or a document that was uploaded. Raises NotFound."""
    owner_id = accessible_owner()
    try:
        return storage.gallery.open(storage.images.get(file_id, owner_id=owner_id))
    except NotFound:
        return storage.documents.open(storage.documents.get(file_id, owner_id=owner_id))


def _decoded(encoded: str, param: str) -> bytes:
    try:
        data = pybase64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused(
            param,
            "It must be a data URL, base64, the id or URL of an own file, or an http or https URL.",
        ) from error
    if not data:
        raise _refused(param, "It is empty.")
    return data


def _refused(param: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{param}: {reason}", param=param)
