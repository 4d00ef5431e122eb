"""Stored pictures: whose they are, and their bytes."""

from typing import Any

from flask import Response

from api.answers import file_view
from api.auth import accessible_owner, signed_in, visible_owner
from api.blueprints import Blueprint
from api.documenting import BYTES, IF_MATCH, IF_NONE_MATCH, OF_A_PART, OF_CONTENT, RANGE
from api.downloads import download
from api.schemas import ContentQuerySchema, FileQuerySchema, FileSchema
from api.services import services
from darkroom.domain import StoredImage

files = Blueprint("files", __name__, description="Stored pictures")


@files.get("/")
@signed_in
@files.arguments(FileQuerySchema, location="query")
@files.response(200, FileSchema(many=True))
@files.problems(400, 401, 403, 404, 503)
def list_files(query: dict[str, Any]) -> list[dict[str, Any]]:
    """Own pictures, newest first; `chat_id`, `message_id` and `job_id` narrow the list."""
    owner_id = visible_owner(everyone=query.pop("all"))
    return [file_view(each) for each in services().storage.images.list(owner_id=owner_id, **query)]


@files.get("/<image_id>")
@signed_in
@files.response(200, FileSchema)
@files.problems(401, 404, 503)
def read_file(image_id: str) -> dict[str, Any]:
    """What is known of one picture."""
    return file_view(_image(image_id))


@files.get("/<image_id>/content")
@signed_in
@files.arguments(ContentQuerySchema, location="query")
@files.heeds(RANGE, IF_NONE_MATCH, IF_MATCH)
@files.response(200, BYTES, content_type="image/*", headers=OF_CONTENT)
@files.alt_response(
    206,
    schema=BYTES,
    description="The part that `Range` asked for.",
    content_type="image/*",
    headers=OF_A_PART,
)
@files.alt_response(304, description="The caller has it already (`If-None-Match`).")
@files.problems(400, 401, 404, 412, 416, 503)
def read_content(query: dict[str, Any], image_id: str) -> Response:
    """A picture's bytes, or those of a thumbnail."""
    image = _image(image_id)
    gallery = services().storage.gallery
    thumbnail = gallery.open_thumbnail(image, query["w"]) if "w" in query else None
    if thumbnail is None:
        file = gallery.open(image)
        return download(file, image.content_type, tag=image.file_key, name=image.name)
    tag, name = f"{image.file_key}-{query['w']}", f"{image.id}-{query['w']}.webp"
    return download(thumbnail, "image/webp", tag=tag, name=name)


@files.delete("/<image_id>")
@signed_in
@files.response(204)
@files.problems(401, 404, 503)
def delete_file(image_id: str) -> None:
    """Forget a picture."""
    services().storage.gallery.delete(_image(image_id))


def _image(image_id: str) -> StoredImage:
    return services().storage.images.get(image_id, owner_id=accessible_owner())
