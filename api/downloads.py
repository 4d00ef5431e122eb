"""The bytes of a picture as an answer."""

from typing import BinaryIO

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable
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
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Disposition"] = f'inline; filename="{name}"'
    try:
        response.make_conditional(request.environ, accept_ranges=True, complete_length=size)
    except RequestedRangeNotSatisfiable:
        response.close()
        raise
    return response
