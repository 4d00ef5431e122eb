"""OpenAI's files: what batches read and write, and pictures to change."""

from typing import Any

from flask import Response, request, stream_with_context

from api.auth import accessible_owner, current_user, permitted, signed_in
from api.documenting import BYTES, IF_MATCH, IF_NONE_MATCH, RANGE
from api.downloads import download
from api.openai.batch_files import written_lines
from api.openai.blueprints import OpenAIBlueprint
from api.openai.documents import file_list, file_object, keep_upload
from api.openai.file_schemas import (
    FILE_FORM,
    DeletedFileSchema,
    FileListSchema,
    FileObjectSchema,
    FilesQuerySchema,
)
from api.openai.ids import FILE, plain_id
from api.services import services
from darkroom.domain import GENERATE_IMAGES, Document

files = OpenAIBlueprint("openai_files", __name__, description="OpenAI's dialect: files")


@files.post("/")
@permitted(GENERATE_IMAGES)
@files.response(200, FileObjectSchema)
@files.problems(400, 401, 403, 413, 415, 503)
@files.doc(requestBody=FILE_FORM)
def upload() -> dict[str, Any]:
    """Keep a file: the lines of a batch, or a picture to change."""
    return file_object(keep_upload(services()))


@files.get("/")
@signed_in
@files.arguments(FilesQuerySchema, location="query")
@files.response(200, FileListSchema)
@files.problems(400, 401, 404, 503)
def list_files(query: dict[str, Any]) -> dict[str, Any]:
    """Own files, newest first unless `order=asc`."""
    return file_list(current_user().id, query, services())


@files.get("/<file_id>")
@signed_in
@files.response(200, FileObjectSchema)
@files.problems(401, 404, 503)
def read_file(file_id: str) -> dict[str, Any]:
    """What is known of one file."""
    return file_object(_document(file_id))


@files.get("/<file_id>/content")
@signed_in
@files.heeds(RANGE, IF_NONE_MATCH, IF_MATCH)
@files.response(200, BYTES, content_type="application/octet-stream")
@files.alt_response(
    206,
    schema=BYTES,
    description="The part that `Range` asked for.",
    content_type="application/octet-stream",
)
@files.alt_response(304, description="The caller has it already (`If-None-Match`).")
@files.problems(401, 404, 412, 416, 503)
def read_content(file_id: str) -> Response:
    """A file's bytes."""
    document = _document(file_id)
    kind = "application/octet-stream"
    if document.file_key is None:
        lines = iter(()) if request.method == "HEAD" else written_lines(document, services())
        return Response(stream_with_context(lines), content_type=kind)
    file = services().storage.documents.open(document)
    return download(file, kind, tag=document.file_key, name=f"{document.id}.bin")


@files.delete("/<file_id>")
@signed_in
@files.response(200, DeletedFileSchema)
@files.problems(401, 404, 503)
def delete_file(file_id: str) -> dict[str, Any]:
    """Forget a file. What a batch read or wrote goes without the batch."""
    document = _document(file_id)
    services().storage.documents.delete(document)
    return {"id": file_object(document)["id"], "object": "file", "deleted": True}


def _document(file_id: str) -> Document:
    return services().storage.documents.get(plain_id(FILE, file_id), owner_id=accessible_owner())
