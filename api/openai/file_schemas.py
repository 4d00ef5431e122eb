"""OpenAI's files in JSON and in forms: what comes in, and what goes out."""

from marshmallow import Schema, fields, validate

from api.fields import Text, WholeNumber, about
from api.openai.reading import FORM

#: What OpenAI lets people upload files for.
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")

LONGEST_LIST = 10_000

#: When an upload may be set to expire, in seconds after it: an hour to a month.
LEAST_S, MOST_S = 3600, 2_592_000


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
    after = Text(validate=validate.Length(max=64), **about("Continue behind this file."))
    order = Text(load_default="desc", validate=validate.OneOf(["asc", "desc"]))
    purpose = Text(validate=validate.Length(max=32), **about("Only files for this."))


class FileObjectSchema(Schema):
    """One file."""

    id = fields.String(required=True)
    object = fields.Constant("file", required=True)
    bytes = fields.Integer(required=True)
    created_at = fields.Integer(required=True, **about("Unix time, in seconds."))
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
