"""The bytes of a picture as an answer, or word to the proxy to send them itself."""

from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from flask import Response, request
from werkzeug.exceptions import PreconditionFailed, RequestedRangeNotSatisfiable
from werkzeug.http import parse_range_header
from werkzeug.wsgi import wrap_file

from api.services import services

#: How nginx says that it can send files, and is then told which.
OFFER, REDIRECT = "X-Sendfile-Type", "X-Accel-Redirect"


def download(file: BinaryIO, content_type: str, *, tag: str, name: str) -> Response:
    """A file's bytes: whole or in part, or not at all when the caller has them already."""
    size = file.seek(0, 2)
    file.seek(0)
    response = Response(
        wrap_file(request.environ, file), content_type=content_type, direct_passthrough=True
    )
    response.content_length = size
    response.set_etag(tag)
    # A picture never changes; but it is its owner's, so no shared cache may keep it.
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    response.headers["Content-Disposition"] = f'inline; filename="{name}"'
    try:
        response = _conditional(response, size)
    except (PreconditionFailed, RequestedRangeNotSatisfiable):
        response.close()
        raise
    location = _location(file) if response.status_code in (200, 206) else None
    return response if location is None else _left_to_the_proxy(response, location)


def _location(file: BinaryIO) -> str | None:
    """Where the proxy finds this file; None when it did not offer to send it, or cannot."""
    settings = services().settings
    location, folder = settings.accel_location, settings.storage_folder
    if location is None or folder is None or request.headers.get(OFFER) != REDIRECT:
        return None
    # nginx would hold these against an ETag that it does not know.
    if request.if_match or "If-Range" in request.headers:
        return None
    return location + quote(str(Path(file.name).relative_to(folder)))


def _left_to_the_proxy(response: Response, location: str) -> Response:
    """The same answer without its bytes; the proxy knows of ranges by itself."""
    response.close()
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in ("Accept-Ranges", "Content-Length", "Content-Range")
    }
    return Response(headers=headers | {REDIRECT: location})


def _conditional(response: Response, size: int) -> Response:
    """First come the conditions, then the range (RFC 9110, 13.2.2)."""
    response.accept_ranges = "bytes"
    response.make_conditional(request.environ)
    if response.status_code == 412:
        raise PreconditionFailed(
            "The picture has none of the ETags in `If-Match`: ask for it without them."
        )
    if response.status_code == 200 and _asks_for_one_part():
        response.make_conditional(request.environ, accept_ranges=True, complete_length=size)
    return response


def _asks_for_one_part() -> bool:
    """Whatever else a `Range` says is ignored, and the whole is sent."""
    asked = parse_range_header(request.headers.get("Range"))
    return asked is not None and asked.units == "bytes" and len(asked.ranges) == 1
