"""JSON and the domain: what comes in becomes an `Order`, what goes out is made of records.

Schemas are pure: they know shapes and ranges, never the database. Unknown fields are errors, so
that a misspelt one is not dropped in silence; `null` means the same as leaving a field out.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from marshmallow import (
    Schema,
    ValidationError,
    fields,
    post_load,
    validate,
    validates,
    validates_schema,
)

from api.fields import Flag, LaneName, OneOrMany, SizeText, Text, WholeNumber, about
from api.orders import Order
from darkroom.domain import MAX_SEED, JobStatus, MaskSupport, Operation

MAX_PROMPT_CHARS = 32_000
MAX_METADATA_BYTES = 16 * 1024

#: The latest deadline: a week.
MAX_DEADLINE_S = 7 * 24 * 3600


def small_metadata(value: Mapping[str, Any] | None) -> None:
    """Raises ValidationError for metadata that is too large to be kept."""
    if value is not None and len(orjson.dumps(value)) > MAX_METADATA_BYTES:
        raise ValidationError("It must have at most 16 KiB as JSON.")


class GenerationSchema(Schema):
    """A request for pictures."""

    prompt = Text(
        required=True,
        validate=[
            validate.Length(1, MAX_PROMPT_CHARS),
            validate.Regexp(r"\s*\S", error="It must not be blank."),
        ],
        **about("What the picture shows.", example="a lighthouse at dusk, oil painting"),
    )
    model = Text(
        validate=validate.Length(1, 200),
        allow_none=True,
        **about("`engine/model`, or a model's id. Default: as configured."),
    )
    engine = Text(
        validate=validate.Length(1, 64),
        allow_none=True,
        **about("Draw with this engine, whatever others offer the model."),
    )
    size = SizeText(
        allow_none=True,
        **about("`WIDTHxHEIGHT` in pixels, or `auto`. Default: as configured."),
    )
    n = WholeNumber(
        validate=validate.Range(1),
        allow_none=True,
        **about("How many pictures; as many as the server allows at once. Default: 1."),
    )
    steps = WholeNumber(
        validate=validate.Range(1, 1000), allow_none=True, **about("Sampling steps.")
    )
    negative_prompt = Text(
        validate=validate.Length(max=MAX_PROMPT_CHARS),
        allow_none=True,
        **about("What the picture must not show."),
    )
    seed = WholeNumber(
        validate=validate.Range(0, MAX_SEED),
        allow_none=True,
        **about("Same seed, same picture, where the model can do that."),
    )
    quality = Text(
        validate=validate.Length(1, 32), allow_none=True, **about("The model's own word for it.")
    )
    output_format = Text(
        validate=validate.OneOf(["png", "jpeg", "webp"]),
        allow_none=True,
        **about("Kind of picture file."),
    )
    background = Text(
        validate=validate.OneOf(["auto", "opaque", "transparent"]),
        allow_none=True,
        **about("Whether the background is transparent."),
    )
    strict = Flag(
        allow_none=True,
        **about("Refuse what the model cannot honour, instead of warning about it."),
    )
    lane = LaneName(
        allow_none=True,
        **about(
            "`interactive` (the default) goes first; `batch` is for work that nobody waits for.",
            enum=LaneName.names,
        ),
    )
    deadline_s = WholeNumber(
        validate=validate.Range(1, MAX_DEADLINE_S),
        allow_none=True,
        **about("Seconds from now after which nobody wants the result: it fails then."),
    )
    metadata = fields.Dict(
        keys=fields.String(),
        allow_none=True,
        **about(
            "Anything, up to 16 KiB; it comes back with the job. `chat_id` and `message_id` link"
            " the pictures to a chat message."
        ),
    )

    operation = Operation.GENERATE

    @validates("metadata")
    def _metadata_is_small(self, value: dict[str, Any] | None, data_key: str) -> None:
        if value is None:
            return
        small_metadata(value)
        for name in ("chat_id", "message_id"):
            link = value.get(name)
            if link is not None and not (
                isinstance(link, str) and len(link) <= 200 and "\0" not in link
            ):
                raise ValidationError({name: ["It must be a string of at most 200 characters."]})

    @post_load
    def _loaded(self, data: dict[str, Any], **_: Any) -> Any:
        return self.result_of(data)

    def result_of(self, data: dict[str, Any]) -> Any:
        """What these valid fields become: the order, unless a dialect has more to say."""
        return self.order_of(data)

    def order_of(self, data: dict[str, Any]) -> Order:
        """The order that these valid fields make."""
        said = {name: value for name, value in data.items() if value is not None}
        if "image" in said:
            said["image"] = tuple(said["image"])
        return Order(operation=self.operation, **said)


class EditSchema(GenerationSchema):
    """A request to change pictures."""

    image = OneOrMany(
        Text(required=True, validate=validate.Length(min=1)),
        required=True,
        validate=validate.Length(1, 16),
        **about(
            "One or several of: data URL, base64, id or URL of an own file, http(s) URL.",
            type=["string", "array"],
        ),
    )
    mask = Text(
        allow_none=True,
        validate=validate.Length(min=1),
        **about("Where to repaint the first image, in the same forms."),
    )

    operation = Operation.EDIT


class EstimateOrderSchema(EditSchema):
    """A request that is only estimated: for pictures or, with `image`, to change some."""

    image = OneOrMany(
        Text(required=True, validate=validate.Length(min=1)),
        allow_none=True,
        validate=validate.Length(1, 16),
        **about("As for an edit; neither read nor fetched.", type=["string", "array"]),
    )

    @validates_schema
    def _mask_is_of_an_image(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("mask") is not None and data.get("image") is None:
            raise ValidationError("A mask needs an image.", "image")

    def order_of(self, data: dict[str, Any]) -> Order:
        order = super().order_of(data)
        return order if order.image else replace(order, operation=Operation.GENERATE)


class ImageLinkSchema(Schema):
    """One picture of a finished request."""

    url = fields.String(required=True, **about("Where its bytes are, on this server."))
    id = fields.String(required=True)
    name = fields.String(required=True, **about("A file name to save it under."))
    content_type = fields.String(required=True)


class FileSchema(ImageLinkSchema):
    """One stored picture, with all that is known of it."""

    user_id = fields.String(required=True)
    job_id = fields.String(required=True)
    width = fields.Integer(required=True, **about("In pixels."))
    height = fields.Integer(required=True, **about("In pixels."))
    size_bytes = fields.Integer(required=True)
    seed = fields.Integer(required=True, allow_none=True)
    revised_prompt = fields.String(required=True, allow_none=True)
    chat_id = fields.String(required=True, allow_none=True)
    message_id = fields.String(required=True, allow_none=True)
    created_at = fields.Float(required=True, **about("Unix time, in seconds."))


class ModelQuerySchema(Schema):
    engine = Text(
        validate=validate.Length(1, 64),
        **about("List the models of this engine, or of `all`. Default: the default engine."),
    )


class CapabilitiesSchema(Schema):
    """What a model can do. What it cannot is left out with a warning, or refused when `strict`."""

    sizes = fields.Raw(
        required=True,
        **about("A list of `WIDTHxHEIGHT`, or the limits within which any size is drawn."),
    )
    max_count = fields.Integer(required=True, **about("Largest `n`."))
    max_prompt_chars = fields.Integer(required=True)
    negative_prompt = fields.Boolean(required=True)
    seed = fields.Boolean(required=True)
    max_seed = fields.Integer(required=True)
    max_steps = fields.Integer(
        required=True, allow_none=True, **about("Null where there are no steps to choose.")
    )
    qualities = fields.List(fields.String(), required=True)
    output_formats = fields.List(fields.String(), required=True)
    backgrounds = fields.List(fields.String(), required=True)
    max_input_images = fields.Integer(
        required=True, **about("How many pictures it changes at once; 0 for none.")
    )
    mask = fields.Enum(
        MaskSupport,
        by_value=True,
        required=True,
        **about("Whether it repaints exactly where a mask says, or takes it as a hint."),
    )
    max_partial_images = fields.Integer(
        required=True, **about("How many previews of one picture an admin can have it asked for.")
    )


class ModelSchema(Schema):
    """One model that can be asked for."""

    id = fields.String(required=True, **about("What to send as `model`."))
    name = fields.String(required=True)
    engine = fields.String(required=True)
    can_generate = fields.Boolean(required=True)
    can_edit = fields.Boolean(required=True)
    retired_on = fields.String(
        required=True,
        allow_none=True,
        **about("The day its vendor switches it off, or did; other servers may still have it."),
    )
    capabilities = fields.Nested(CapabilitiesSchema, required=True)


class JobErrorSchema(Schema):
    """Why a job failed."""

    code = fields.String(required=True, **about("Stable; tells kinds of failure apart."))
    detail = fields.String(required=True, **about("The cause and the next step, for a person."))
    retryable = fields.Boolean(required=True)
    param = fields.String(required=True, allow_none=True)
    upstream_status = fields.Integer(
        required=True, allow_none=True, **about("HTTP status of the engine's own answer.")
    )
    upstream_code = fields.String(
        required=True, allow_none=True, **about("The vendor's own word for it.")
    )
    upstream_request_id = fields.String(
        required=True, allow_none=True, **about("The vendor's id of the call.")
    )


class UsageSchema(Schema):
    """Tokens that the engine counted."""

    input_tokens = fields.Integer(required=True)
    output_tokens = fields.Integer(required=True)
    total_tokens = fields.Integer(required=True)
    input_text_tokens = fields.Integer(required=True)
    input_image_tokens = fields.Integer(required=True)


class CostSchema(Schema):
    """What pictures cost, as decimal text; `null` is unknown, which is not nothing."""

    estimated = fields.String(
        required=True,
        allow_none=True,
        **about("At most, by size and quality; without the tokens of prompt and input pictures."),
    )
    actual = fields.String(
        required=True,
        allow_none=True,
        **about("Once it is finished. Null after a paid call whose end was not seen."),
    )
    currency = fields.String(required=True)
    is_known = fields.Boolean(
        required=True,
        **about("Whether it is known: the actual cost of what is finished, or else the estimate."),
    )


class JobSchema(Schema):
    """One job, as it stands."""

    id = fields.String(required=True)
    url = fields.String(required=True)
    status = fields.Enum(JobStatus, by_value=True, required=True)
    operation = fields.Enum(Operation, by_value=True, required=True)
    engine = fields.String(required=True)
    model = fields.String(required=True)
    prompt = fields.String(required=True)
    n = fields.Integer(required=True)
    size = fields.String(required=True, allow_none=True)
    seed = fields.Integer(required=True, allow_none=True)
    progress = fields.Float(required=True, **about("Share done, 0.0 to 1.0."))
    attempt = fields.Integer(required=True, **about("How often a worker took it."))
    images = fields.List(fields.Nested(FileSchema), required=True)
    warnings = fields.List(
        fields.String(), required=True, **about("What the model could not honour.")
    )
    error = fields.Nested(JobErrorSchema, required=True, allow_none=True)
    usage = fields.Nested(
        UsageSchema,
        required=True,
        allow_none=True,
        **about("What its pictures took; null where the engine does not tell."),
    )
    cost = fields.Nested(CostSchema, required=True)
    metadata = fields.Dict(keys=fields.String(), required=True)
    lane = LaneName(required=True, **about("Which line it waits in.", enum=LaneName.names))
    deadline = fields.Float(
        required=True, allow_none=True, **about("From when on nobody wants it (Unix time).")
    )
    retry_of = fields.String(
        required=True, allow_none=True, **about("The id of the job that this one repeats.")
    )
    batch_id = fields.String(
        required=True, allow_none=True, **about("The batch it belongs to, if to any.")
    )
    custom_id = fields.String(required=True, allow_none=True, **about("What its batch calls it."))
    not_before = fields.Float(
        required=True, allow_none=True, **about("It is not tried again before this (Unix time).")
    )
    revision = fields.Integer(required=True, **about("Grows with every change of the job."))
    user_id = fields.String(required=True)
    created_at = fields.Float(required=True, **about("Unix time, in seconds."))
    started_at = fields.Float(
        required=True, allow_none=True, **about("When a worker took it last (Unix time).")
    )
    finished_at = fields.Float(required=True, allow_none=True)


class AttemptSchema(Schema):
    """One worker's try at a job. Times are Unix seconds."""

    number = fields.Integer(required=True)
    engine = fields.String(required=True)
    model = fields.String(required=True)
    worker = fields.String(**about("Which worker process; for admins only."))
    server = fields.String(
        allow_none=True,
        **about("Which server of the engine, where there are several; for admins only."),
    )
    started_at = fields.Float(required=True)
    ended_at = fields.Float(required=True, allow_none=True)
    outcome = fields.String(
        required=True,
        allow_none=True,
        **about(
            "`succeeded`, `canceled`, `handed_back`, `lease_lost`, or the code of an error; null"
            " while it runs."
        ),
    )
    detail = fields.String(required=True, allow_none=True)


class JobDetailSchema(JobSchema):
    """One job as it stands, what was tried so far, and what is to be expected."""

    attempts = fields.List(fields.Nested(AttemptSchema), required=True)
    waited_s = fields.Float(
        required=True, **about("How long no worker was busy with it so far, in seconds.")
    )
    ran_s = fields.Float(
        required=True, **about("How long workers were busy with it so far, in seconds.")
    )
    queue_position = fields.Integer(
        required=True,
        allow_none=True,
        **about("Its place in its engine's queue, from 1; null unless queued, or beyond 1000."),
    )
    estimated_start_at = fields.Float(
        required=True,
        allow_none=True,
        **about("A guess from the latest jobs of its model (Unix time); null when unknown."),
    )
    estimated_finish_at = fields.Float(required=True, allow_none=True, **about("Likewise."))
    preview_url = fields.String(
        required=True,
        allow_none=True,
        **about("Where the picture can be seen as it is drawn; null while there is none."),
    )


class PageSchema(Schema):
    """Which part of a list."""

    limit = fields.Integer(load_default=50, validate=validate.Range(1, 500))
    after = Text(
        validate=validate.Length(max=64), **about("Continue behind the entry with this id.")
    )


class JobQuerySchema(PageSchema):
    status = fields.Enum(JobStatus, by_value=True)
    batch = Text(validate=validate.Length(max=64), **about("Only jobs of this batch."))
    all = fields.Boolean(load_default=False, **about("Everyone's, for admins."))


class FileQuerySchema(PageSchema):
    chat_id = Text(validate=validate.Length(max=200))
    message_id = Text(validate=validate.Length(max=200))
    job_id = Text(validate=validate.Length(max=64))
    all = fields.Boolean(load_default=False, **about("Everyone's, for admins."))


class ContentQuerySchema(Schema):
    w = fields.Integer(
        validate=validate.Range(16, 8192),
        **about("A thumbnail at least this wide, in pixels, as WebP."),
    )


class AliveSchema(Schema):
    """That a process answers."""

    status = fields.String(required=True, validate=validate.OneOf(["ok"]))


class PartSchema(Schema):
    """How one part of the service is."""

    ok = fields.Boolean(required=True)
    detail = fields.String(**about("What is wrong with it, in a sentence."))
    count = fields.Integer(**about("How many worker processes there are."))
    unserved = fields.List(
        fields.String(),
        **about("Enabled engines that no worker takes jobs of, so that these wait."),
    )
    resting = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        **about("The engines that rest as a whole, with the code of the failure."),
    )


class ReadinessSchema(Schema):
    """Whether requests can be served, and how each part is."""

    status = fields.String(required=True, validate=validate.OneOf(["ready", "not ready"]))
    checks = fields.Dict(
        keys=fields.String(),
        values=fields.Nested(PartSchema),
        required=True,
        **about(
            "`database` decides; `broker`, `files`, `workers`, `engines`, and `redis` where the"
            " broker is another server, are told."
        ),
    )


class ServerSchema(Schema):
    """How one server of an engine is doing."""

    name = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(["ready", "resting"]))
    rests_until = fields.Float(
        required=True, allow_none=True, **about("When it is asked next how it is (Unix time).")
    )
    reason = fields.String(
        required=True, allow_none=True, **about("The code of the failure that made it rest.")
    )
    detail = fields.String(
        allow_none=True, **about("Why it rests, in a sentence; for admins only.")
    )
    running = fields.Integer(required=True)
    max_in_flight = fields.Integer(
        required=True, allow_none=True, **about("Jobs it takes at once; null for any number.")
    )


class EngineSchema(Schema):
    """How one engine is doing."""

    name = fields.String(required=True)
    enabled = fields.Boolean(required=True)
    state = fields.String(
        required=True,
        validate=validate.OneOf(["ready", "resting", "disabled"]),
        **about("A resting engine failed again and again; its jobs wait until it is well."),
    )
    rests_until = fields.Float(
        required=True, allow_none=True, **about("When it is asked next how it is (Unix time).")
    )
    reason = fields.String(
        required=True, allow_none=True, **about("The code of the failure that made it rest.")
    )
    detail = fields.String(
        allow_none=True,
        **about("Why it rests or is not enabled, in a sentence; for admins only."),
    )
    queued = fields.Integer(required=True)
    running = fields.Integer(required=True)
    models = fields.Integer(required=True, **about("How many models it offers."))
    worker_slots = fields.Integer(
        required=True,
        **about("How many of its jobs living workers can run at once; its jobs wait while 0."),
    )
    servers = fields.List(
        fields.Nested(ServerSchema),
        required=True,
        **about(
            "For admins: its servers, where there is a list of them. The engine rests when all do."
        ),
    )


class QuotaSchema(Schema):
    """How one limit stands."""

    what = fields.String(required=True, validate=validate.OneOf(["images", "budget"]))
    period = fields.String(required=True, validate=validate.OneOf(["day", "month"]))
    limit = fields.String(required=True, **about("A count of images, or an amount of money."))
    used = fields.String(required=True, **about("Drawn, spent or reserved."))
    remaining = fields.String(required=True)
    resets_at = fields.Float(required=True, **about("When the period is over (Unix time)."))


class ProblemDetailSchema(Schema):
    line = fields.Integer(**about("The line of the batch it is about, from 1."))
    param = fields.String(required=True)
    detail = fields.String(required=True)
    code = fields.String(**about("What the line alone would be answered with."))


class ProblemSchema(Schema):
    """What went wrong (RFC 9457)."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True, **about("The cause and the next step, for a person."))
    code = fields.String(required=True, **about("Stable; tells kinds of failure apart."))
    request_id = fields.String(required=True)
    param = fields.String(**about("The field at fault."))
    errors = fields.List(
        fields.Nested(ProblemDetailSchema), **about("Every field at fault, when several are.")
    )
    error_count = fields.Integer(
        **about("How many there are, when not all of them are in `errors`.")
    )
    engine = fields.String()
    model = fields.String()
    job = fields.String(**about("Where the job is."))
    upstream_status = fields.Integer(**about("HTTP status of the engine's own answer."))
    upstream_code = fields.String(**about("The vendor's own word for it."))
    upstream_request_id = fields.String(**about("The vendor's id of the call."))
    retryable = fields.Boolean()
    warnings = fields.List(fields.String())
    quota = fields.Nested(QuotaSchema, **about("The limit that is used up, where one is."))
