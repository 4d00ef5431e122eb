"""OpenAI's file objects: uploads, lists, and how they are shown."""

import os
import re
from collections.abc import Sequence
from typing import Any

from flask import request
from werkzeug.datastructures import FileStorage

from api.auth import current_user
from api.openai.errors import MissingParameter, UnknownParameter
from api.openai.file_schemas import UploadSchema
from api.openai.ids import FILE
from api.openai.reading import FORM, load
from api.services import Services
from darkroom.domain import Document
from darkroom.errors import InvalidRequest, WrongMediaType

LONGEST_FILENAME = 255

CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def keep_upload(services: Services) -> Document:
    """Keep the file in this request's form for the current user. Raises InvalidRequest."""
    # A form is read to a temporary file on the disk; only then is it known what it is for.
    request.max_content_length = services.settings.max_batch_bytes
    if request.mimetype != FORM:
        raise WrongMediaType(f"Send the file as a form: {FORM}.", param="Content-Type")
    said = load(_content(), UploadSchema())
    file = request.files.get("file")
    if file is None:
        raise MissingParameter("Missing required parameter: 'file'.", param="file")
    _refuse_too_much(file, services)
    expiry = said.get("expires_after")
    return services.storage.documents.keep(
        file.stream,
        owner_id=current_user().id,
        filename=CONTROL.sub("", file.filename or "upload")[-LONGEST_FILENAME:],
        purpose=said["purpose"],
        lasts_s=expiry["seconds"] if expiry else None,
    )


def file_object(document: Document) -> dict[str, Any]:
    """A document as `FileObjectSchema` shows it."""
    return {
        "id": FILE + document.id,
        "object": "file",
        "bytes": document.size_bytes,
        "created_at": int(document.created_at),
        "expires_at": None if document.expires_at is None else int(document.expires_at),
        "filename": document.filename,
        "purpose": document.purpose,
        "status": "processed",
    }


def file_list(owner_id: str, query: dict[str, Any], services: Services) -> dict[str, Any]:
    """An owner's files as `FileListSchema` shows them. Raises NotFound."""
    after = query.get("after")
    found = services.storage.documents.list(
        owner_id=owner_id,
        purpose=query.get("purpose"),
        after=after.removeprefix(FILE) if after else None,
        limit=query["limit"] + 1,
        is_newest_first=query["order"] == "desc",
    )
    limit = query["limit"]
    return a_list([file_object(each) for each in found[:limit]], has_more=len(found) > limit)


def a_list(shown: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A part of a list as OpenAI pages it."""
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": has_more,
    }


def _refuse_too_much(file: FileStorage, services: Services) -> None:
    size_bytes = file.stream.seek(0, os.SEEK_END)
    held_bytes = services.storage.documents.held_bytes(current_user().id)
    most_mb = services.settings.max_uploads_mb_per_user
    if held_bytes + size_bytes > most_mb * 1024 * 1024:
        raise InvalidRequest(
            f"With it your files would hold more than {most_mb} MiB together: delete some first.",
            param="file",
        )


def _content() -> dict[str, Any]:
    """The text parts of the form, as the JSON they stand for. Raises InvalidRequest."""
    content: dict[str, Any] = {}
    for name, text in request.form.items():
        match name:
            case "purpose":
                content["purpose"] = text
            case "expires_after[anchor]":
                content.setdefault("expires_after", {})["anchor"] = text
            case "expires_after[seconds]":
                content.setdefault("expires_after", {})["seconds"] = _seconds(text)
            case _:
                raise UnknownParameter(f"Unknown parameter: '{name}'.", param=name)
    return content


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        name = "expires_after[seconds]"
        raise InvalidRequest(f"{name}: It must be a whole number.", param=name)
    return int(text)
