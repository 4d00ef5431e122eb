"""OpenAI's batches in JSON: what comes in, and what goes out."""

from marshmallow import Schema, ValidationError, fields, validate, validates

from api.fields import Text
from api.openai.batch_lines import ENDPOINTS
from api.openai.file_schemas import ExpirySchema, ListSchema
from api.openai.schemas import NullableSchema

MOST_PAIRS, LONGEST_NAME, LONGEST_VALUE = 16, 64, 512

TIMES = (
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


class NewOpenAIBatchSchema(NullableSchema):
    """A batch to run."""

    input_file_id = Text(required=True, validate=validate.Length(1, 64))
    endpoint = Text(required=True, validate=validate.OneOf(list(ENDPOINTS)))
    completion_window = Text(required=True, validate=validate.OneOf(["24h"]))
    metadata = fields.Dict(
        keys=Text(validate=validate.Length(1, LONGEST_NAME)),
        values=Text(validate=validate.Length(max=LONGEST_VALUE)),
    )
    output_expires_after = fields.Nested(ExpirySchema)

    @validates("metadata")
    def _few_pairs(self, value: dict[str, str], data_key: str) -> None:
        if len(value) > MOST_PAIRS:
            raise ValidationError(f"It must have at most {MOST_PAIRS} pairs.")


class BatchesQuerySchema(Schema):
    limit = fields.Integer(load_default=20, validate=validate.Range(1, 100))
    after = Text(validate=validate.Length(max=64))


class LineErrorSchema(Schema):
    code = fields.String(required=True)
    message = fields.String(required=True)
    line = fields.Integer(required=True, allow_none=True)
    param = fields.String(required=True, allow_none=True)


class LineErrorsSchema(Schema):
    object = fields.Constant("list", required=True)
    data = fields.List(fields.Nested(LineErrorSchema), required=True)


class RequestCountsSchema(Schema):
    total = fields.Integer(required=True)
    completed = fields.Integer(required=True)
    failed = fields.Integer(required=True)


class _BatchObjectSchema(Schema):
    """One batch; times are Unix seconds."""

    id = fields.String(required=True)
    object = fields.Constant("batch", required=True)
    endpoint = fields.String(required=True)
    errors = fields.Nested(LineErrorsSchema, required=True, allow_none=True)
    input_file_id = fields.String(required=True)
    completion_window = fields.String(required=True)
    status = fields.String(required=True)
    output_file_id = fields.String(required=True, allow_none=True)
    error_file_id = fields.String(required=True, allow_none=True)
    created_at = fields.Integer(required=True)
    request_counts = fields.Nested(RequestCountsSchema, required=True)
    metadata = fields.Dict(keys=fields.String(), required=True, allow_none=True)


BatchObjectSchema = _BatchObjectSchema.from_dict(
    {name: fields.Integer(required=True, allow_none=True) for name in TIMES},
    name="BatchObjectSchema",
)


class BatchListSchema(ListSchema):
    """A part of the batches."""

    data = fields.List(fields.Nested(BatchObjectSchema), required=True)
