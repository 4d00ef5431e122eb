"""Batches in JSON: what comes in, and what goes out."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates

from api.batches.expanding import read_matrix
from api.fields import Text, about
from api.schemas import CostSchema, FileSchema, JobErrorSchema, PageSchema, small_metadata
from darkroom.domain import BatchStatus, JobStatus


class _SharedSchema(Schema):
    name = Text(validate=validate.Length(1, 200), allow_none=True, **about("For people."))
    defaults = fields.Dict(
        keys=fields.String(),
        allow_none=True,
        **about("Fields of a request that hold for every item that does not say otherwise."),
    )
    expand = fields.Dict(
        keys=fields.String(),
        allow_none=True,
        **about(
            "Makes several items of each: a list of values by field, of which every combination is"
            ' drawn, such as `{"model": ["a", "b"], "seed": {"count": 4, "start": 1}}`.'
        ),
    )
    metadata = fields.Dict(
        keys=fields.String(),
        allow_none=True,
        **about("Anything, up to 16 KiB; it comes back with the batch."),
    )

    @validates("metadata")
    def _metadata_is_small(self, value: dict[str, Any] | None, data_key: str) -> None:
        small_metadata(value)

    @validates("expand")
    def _expand_is_a_matrix(self, value: dict[str, Any] | None, data_key: str) -> None:
        if value is not None:
            read_matrix(value)

    @validates("defaults")
    def _defaults_name_nobody(self, value: dict[str, Any] | None, data_key: str) -> None:
        for name in {"custom_id", "expand"} & set(value or ()):
            raise ValidationError({name: ["It belongs to an item, or beside `defaults`."]})


class NewBatchSchema(_SharedSchema):
    """Many requests at once."""

    items = fields.List(
        fields.Dict(keys=fields.String()),
        required=True,
        validate=validate.Length(1),
        **about(
            "Each as it would be sent to `/api/images/generations`, or with `image` to"
            " `/api/images/edit`; and perhaps with a `custom_id`, unique in the batch, and an"
            " `expand` of its own."
        ),
    )


class LinesQuerySchema(Schema):
    """What goes with lines, for they leave no room for it: each as JSON, but for the name."""

    name = Text(validate=validate.Length(1, 200))
    defaults = Text()
    expand = Text()
    metadata = Text()


class SharedSchema(_SharedSchema):
    """What holds for all lines, once its JSON is read."""


class BatchCountsSchema(Schema):
    """How many items stand where."""

    total = fields.Integer(required=True)
    queued = fields.Integer(required=True)
    running = fields.Integer(required=True)
    succeeded = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    canceled = fields.Integer(required=True)


class BatchCostSchema(CostSchema):
    """What the items cost together, as decimal text; `null` where nobody knows of one of them."""

    actual = fields.String(
        required=True,
        allow_none=True,
        **about("What the finished items did cost, so far. Null before any is finished."),
    )


class BatchSchema(Schema):
    """One batch, as it stands. Times are Unix seconds."""

    id = fields.String(required=True)
    url = fields.String(required=True)
    name = fields.String(required=True, allow_none=True)
    status = fields.Enum(BatchStatus, by_value=True, required=True)
    counts = fields.Nested(BatchCountsSchema, required=True)
    progress = fields.Float(required=True, **about("Share of the items that ended, 0.0 to 1.0."))
    cost = fields.Nested(BatchCostSchema, required=True)
    metadata = fields.Dict(keys=fields.String(), required=True)
    retry_of = fields.String(
        required=True, allow_none=True, **about("The id of the batch that this one repeats.")
    )
    created_at = fields.Float(required=True)
    finished_at = fields.Float(required=True, allow_none=True)
    cancel_requested_at = fields.Float(required=True, allow_none=True)
    estimated_finish_at = fields.Float(
        required=True,
        allow_none=True,
        **about("A guess from how fast its items ended lately; null when unknown."),
    )
    results_url = fields.String(required=True)
    archive_url = fields.String(required=True)
    user_id = fields.String(required=True)


class BatchQuerySchema(PageSchema):
    all = fields.Boolean(load_default=False, **about("Everyone's, for admins."))


class ResultsQuerySchema(Schema):
    follow = fields.Boolean(
        load_default=False, **about("Go on until the batch is over, instead of ending now.")
    )


class ResultSchema(Schema):
    """What came of one item."""

    custom_id = fields.String(required=True)
    line = fields.Integer(required=True, **about("Where in the batch it was asked for, from 1."))
    status = fields.Enum(JobStatus, by_value=True, required=True)
    job = fields.String(
        required=True, allow_none=True, **about("Null for an item that never became a job.")
    )
    engine = fields.String(required=True)
    model = fields.String(required=True)
    prompt = fields.String(required=True)
    images = fields.List(fields.Nested(FileSchema), required=True)
    error = fields.Nested(JobErrorSchema, required=True, allow_none=True)
    warnings = fields.List(fields.String(), required=True)
    metadata = fields.Dict(keys=fields.String(), required=True)
