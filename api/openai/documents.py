"""OpenAI's file objects: uploads, lists, and how they are shown."""

import re
from collections.abc import Sequence
from typing import Any

from flask import request
from marshmallow import Schema, fields, validate

from api.auth import current_user
from api.fields import Text, WholeNumber
from api.openai.errors import MissingParameter, UnknownParameter
from api.openai.ids import FILE
from api.openai.reading import FORM, load
from api.services import Services
from darkroom.domain import Document
from darkroom.errors import InvalidRequest, WrongMediaType

#: What OpenAI lets people upload files for.
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")

LONGEST_LIST = 10_000
LONGEST_FILENAME = 255

#: When an upload may be set to expire, in seconds after it: an hour to a month.
LEAST_S, MOST_S = 3600, 2_592_000

CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _about(text: str) -> dict[str, Any]:
    return {"metadata": {"description": text}}


class ExpirySchema(Schema):
    """When to delete something that is kept."""

    anchor = Text(required=True, validate=validate.OneOf(["created_at"]))
    seconds = WholeNumber(required=True, validate=validate.Range(LEAST_S, MOST_S))


class UploadSchema(Schema):
    """What goes with a file."""

    purpose = Text(required=True, validate=validate.OneOf(PURPOSES))
    expires_after = fields.Nested(ExpirySchema)


class FilesQuerySchema(Schema):
    limit = fields.Integer(load_default=LONGEST_LIST, validate=validate.Range(1, LONGEST_LIST))
    after = Text(validate=validate.Length(max=64), **_about("Continue behind this file."))
    order = Text(load_default="desc", validate=validate.OneOf(["asc", "desc"]))
    purpose = Text(validate=validate.Length(max=32), **_about("Only files for this."))


class FileObjectSchema(Schema):
    """One file."""

    id = fields.String(required=True)
    object = fields.Constant("file", required=True)
    bytes = fields.Integer(required=True)
    created_at = fields.Integer(required=True, **_about("Unix time, in seconds."))
    expires_at = fields.Integer(required=True, allow_none=True)
    filename = fields.String(required=True)
    purpose = fields.String(required=True)
    status = fields.Constant("processed", required=True)


class ListSchema(Schema):
    """A part of a list, as OpenAI pages it."""

    object = fields.Constant("list", required=True)
    first_id = fields.String(required=True, allow_none=True)
    last_id = fields.String(required=True, allow_none=True)
    has_more = fields.Boolean(required=True)


class FileListSchema(ListSchema):
    """A part of the files."""

    data = fields.List(fields.Nested(FileObjectSchema), required=True)


class DeletedFileSchema(Schema):
    """A file that is no more."""

    id = fields.String(required=True)
    object = fields.Constant("file", required=True)
    deleted = fields.Constant(True, required=True)


FILE_FORM = {
    "required": True,
    "content": {
        FORM: {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": list(PURPOSES)},
                    "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                    "expires_after[seconds]": {
                        "type": "integer",
                        "minimum": LEAST_S,
                        "maximum": MOST_S,
                    },
                },
            }
        }
    },
}


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
