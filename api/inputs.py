"""The pictures of an edit: from what callers send to what engines take.

A picture may be sent as a data URL, as base64, as the id or the URL of an own file, or as an http
or https URL, which is fetched.
"""

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import pybase64
from flask import request

from api.auth import accessible_owner
from api.fetching import CannotFetch, Fetcher
from api.orders import Order
from api.services import Services
from darkroom.domain import InputImage
from darkroom.errors import InvalidPicture, InvalidRequest, NotFound
from storage.inspection import MAX_BYTES
from storage.normalizing import normalize, normalize_mask

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OWN_PATH = re.compile(rf"/api/v1/files/({UUID.pattern})(?:/content)?")


@dataclass(frozen=True, kw_only=True)
class EditInputs:
    """What an edit works on."""

    images: Sequence[InputImage] = ()
    #: Belongs to the first of them.
    mask: InputImage | None = None

    @property
    def all(self) -> list[InputImage]:
        return [*self.images, *(() if self.mask is None else (self.mask,))]


def read_inputs(order: Order, services: Services) -> EditInputs:
    """The pictures and the mask of an order; nothing for one that has none.

    Raises InvalidRequest that names the field, or Unavailable when the file store does not answer.
    """
    images = [
        _normalized(text, f"image.{place}", services) for place, text in enumerate(order.image)
    ]
    if order.mask is None:
        return EditInputs(images=images)
    data = _bytes_of(order.mask, "mask", services)
    try:
        mask = normalize_mask(data, images[0].size)
    except InvalidPicture as error:
        raise _refused("mask", error.detail) from error
    return EditInputs(images=images, mask=mask)


def _normalized(text: str, param: str, services: Services) -> InputImage:
    data = _bytes_of(text, param, services)
    try:
        return normalize(data)
    except InvalidPicture as error:
        raise _refused(param, error.detail) from error


def _bytes_of(text: str, param: str, services: Services) -> bytes:
    text = text.strip()
    if text.startswith("data:"):
        head, _, encoded = text.partition(",")
        if not head.endswith(";base64"):
            raise _refused(param, "A data URL must be base64: data:image/png;base64,….")
        return _decoded(encoded, param)
    if (file_id := _own_file(text)) is not None:
        return _read_own(file_id, param, services)
    if text.startswith(("http://", "https://")):
        return _fetched(text, param, services)
    return _decoded(text, param)


def _own_file(text: str) -> str | None:
    """The id of the file of this service that is meant, if one is."""
    if UUID.fullmatch(text):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    is_here = not parts.netloc or parts.netloc == request.host
    match = OWN_PATH.fullmatch(parts.path) if is_here else None
    return match[1] if match else None


def _read_own(file_id: str, param: str, services: Services) -> bytes:
    storage = services.storage
    try:
        with storage.gallery.open(storage.images.get(file_id, owner_id=accessible_owner())) as file:
            return file.read()
    except NotFound as error:
        raise _refused(param, error.detail) from error


def _fetched(url: str, param: str, services: Services) -> bytes:
    fetcher = Fetcher(largest_bytes=MAX_BYTES, allows_private=services.settings.fetch_private_hosts)
    try:
        return fetcher.fetch(url)
    except CannotFetch as error:
        raise _refused(param, f"The URL cannot be fetched: {error}.") from error


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
