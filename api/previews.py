"""Previews: a picture while it is drawn."""

from flask import Response

from api.services import Services
from darkroom.domain import Job
from darkroom.errors import NotFound

#: How the kinds of pictures begin that browsers show.
BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


def preview_of(job: Job, services: Services) -> Response:
    """The newest preview of a job. Raises NotFound when it has none (any more), or Unavailable."""
    missing = f"Job {job.id!r} has no preview at the moment."
    if job.status.is_finished:
        raise NotFound(missing)
    try:
        with services.storage.gallery.open_preview(job.id) as file:
            data = file.read()
    except NotFound as error:
        raise NotFound(missing) from error
    response = Response(data, content_type=content_type_of(data))
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def content_type_of(data: bytes) -> str:
    """By the bytes: what an engine shows is not verified like a picture that is kept."""
    for beginning, content_type in BEGINNINGS.items():
        if data.startswith(beginning):
            return content_type
    return "application/octet-stream"
