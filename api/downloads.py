"""The bytes of a picture as an answer."""

from typing import BinaryIO

from flask import Response, request
from werkzeug.exceptions import PreconditionFailed, RequestedRangeNotSatisfiable
from werkzeug.http import parse_range_header
from werkzeug.wsgi import wrap_file


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
        return _conditional(response, size)
    except (PreconditionFailed, RequestedRangeNotSatisfiable):
        response.close()
        raise


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
