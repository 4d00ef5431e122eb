"""OpenAI's JSON and ours: its published fields become an order, and how to answer it.

Our own fields (`seed`, `steps`, `negative_prompt`, …) are taken, too: the SDK sends them as
`extra_body`.
"""

from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from api.fields import Flag, Text, WholeNumber, about
from api.inputs import UUID
from api.orders import Order
from api.schemas import GenerationSchema
from darkroom.domain import Operation

MAX_INPUT_IMAGES = 16

#: Fields of OpenAI's that no engine is asked for, each with the value that asks for nothing.
NOT_HONOURED = {
    "style": None,
    "moderation": "auto",
    "output_compression": 100,
    "input_fidelity": "low",
    "complexity": None,
    "frame_count": None,
    "frame_duration_ms": None,
    "svg": None,
    "markup": None,
}

#: What a variation is asked for: the route has no prompt.
VARIATION = (
    "Make a variation of this picture: the same subject and the same style, with other details."
)


def _ignored(text: str) -> dict[str, Any]:
    return about(f"{text} No engine is asked for it: a warning says so.")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An order, and the form of the answer to it."""

    order: Order
    #: `url` or `b64_json`; None for what the model's callers expect.
    response_format: str | None = None
    is_streamed: bool = False
    #: How many unfinished pictures to show at most, in a stream.
    partial_images: int = 0


class NullableSchema(Schema):
    """Takes null for every field that may be left out: the SDK sends it for what was not said."""

    def on_bind_field(self, field_name: str, field_obj: Any) -> None:
        field_obj.allow_none = field_obj.allow_none or not field_obj.required


class ImagesSchema(NullableSchema, GenerationSchema):
    """A request for pictures."""

    output_format = Text(
        validate=validate.OneOf(["png", "jpeg", "webp", "gif", "svg"]),
        **about("Kind of picture file."),
    )
    response_format = Text(
        validate=validate.OneOf(["url", "b64_json"]),
        **about("Default: `url` for models called dall-e, `b64_json` for all others."),
    )
    stream = Flag(**about("Answer with server-sent events."))
    partial_images = WholeNumber(
        validate=validate.Range(0, 3),
        **about("How many unfinished pictures a stream shows, at most."),
    )
    user = Text(validate=validate.Length(max=512), **about("Kept in the job's metadata."))
    safety_identifier = Text(
        validate=validate.Length(max=512), **about("Kept in the job's metadata.")
    )
    style = Text(validate=validate.OneOf(["vivid", "natural"]), **_ignored("Of DALL·E 3."))
    moderation = Text(validate=validate.OneOf(["low", "auto"]), **_ignored("How strict to be."))
    output_compression = WholeNumber(
        validate=validate.Range(0, 100), **_ignored("Of a jpeg or webp, in percent.")
    )
    complexity = Text(validate=validate.OneOf(["low", "medium", "high"]), **_ignored("Of a model."))
    frame_count = WholeNumber(validate=validate.Range(2, 16), **_ignored("Of an animation."))
    frame_duration_ms = WholeNumber(validate=validate.Range(1), **_ignored("Of an animation."))
    svg = fields.Dict(keys=fields.String(), **_ignored("How to draw with vectors."))

    def result_of(self, data: dict[str, Any]) -> Asked:
        response_format = data.pop("response_format", None)
        is_streamed = data.pop("stream", False)
        partial_images = data.pop("partial_images", 0)
        left_out = [
            name
            for name, hollow in NOT_HONOURED.items()
            if name in data and data.pop(name) != hollow
        ]
        if partial_images and not is_streamed:
            left_out.append("partial_images")
        if is_streamed and response_format == "url":
            left_out.append("response_format")
        people = {name: data.pop(name) for name in ("user", "safety_identifier") if name in data}
        metadata = people | (data.pop("metadata", None) or {})
        return Asked(
            order=self.order_of(data | {"metadata": metadata, "not_honoured": tuple(left_out)}),
            response_format=response_format,
            is_streamed=is_streamed,
            partial_images=partial_images,
        )


class PictureSchema(Schema):
    """A picture to change: one of the two."""

    image_url = Text(
        validate=validate.Length(min=1),
        **about("Data URL, http or https URL, or the URL of an own picture."),
    )
    file_id = Text(
        validate=validate.Regexp(rf"(file-)?{UUID.pattern}\Z", error="There is no such file."),
        **about("The id of an own picture."),
    )

    @validates_schema
    def _is_one(self, data: dict[str, Any], **_: Any) -> None:
        if len(data) != 1:
            raise ValidationError("It must have either image_url or file_id.")


def _as_text(picture: dict[str, str]) -> str:
    """The picture as an order names it."""
    return picture.get("image_url") or picture["file_id"].removeprefix("file-")


class EditsSchema(ImagesSchema):
    """A request to change pictures."""

    images = fields.List(
        fields.Nested(PictureSchema),
        required=True,
        validate=validate.Length(1, MAX_INPUT_IMAGES),
    )
    mask = fields.Nested(
        PictureSchema, **about("What is fully transparent in it is repainted in the first one.")
    )
    markup = fields.Nested(PictureSchema, **_ignored("A drawing over the picture."))
    input_fidelity = Text(
        validate=validate.OneOf(["low", "high"]), **_ignored("How closely to keep to the pictures.")
    )

    operation = Operation.EDIT

    def order_of(self, data: dict[str, Any]) -> Order:
        pictures: dict[str, Any] = {"image": [_as_text(each) for each in data.pop("images")]}
        if "mask" in data:
            pictures["mask"] = _as_text(data.pop("mask"))
        return super().order_of(data | pictures)


class VariationsSchema(EditsSchema):
    """A request for another picture like this one."""

    class Meta:
        fields = ("images", "model", "n", "response_format", "size", "user")

    def order_of(self, data: dict[str, Any]) -> Order:
        if len(data["images"]) > 1:
            raise ValidationError({"image": ["A variation is made of one picture."]})
        return super().order_of(data | {"prompt": VARIATION})


class LinkQuerySchema(Schema):
    """What makes a link to a picture a true one."""

    expires = Text(load_default="", **about("Until when it works (Unix time, in seconds)."))
    signature = Text(load_default="")


class DeploymentQuerySchema(Schema):
    api_version = Text(data_key="api-version", **about("Any: there is one version."))


class PictureItemSchema(Schema):
    """One picture of an answer, in one of the two forms."""

    b64_json = fields.String()
    url = fields.String(**about("Works for an hour, without a header."))
    revised_prompt = fields.String()


class InputTokensSchema(Schema):
    text_tokens = fields.Integer(required=True)
    image_tokens = fields.Integer(required=True)


class TokensSchema(Schema):
    """Tokens that the engine counted."""

    total_tokens = fields.Integer(required=True)
    input_tokens = fields.Integer(required=True)
    output_tokens = fields.Integer(required=True)
    input_tokens_details = fields.Nested(InputTokensSchema, required=True)


class ImagesAnswerSchema(Schema):
    """The pictures, and what is known of all of them."""

    created = fields.Integer(required=True, **about("Unix time, in seconds."))
    data = fields.List(fields.Nested(PictureItemSchema), required=True)
    size = fields.String()
    quality = fields.String()
    background = fields.String()
    output_format = fields.String()
    usage = fields.Nested(TokensSchema, **about("Left out where the engine does not tell."))


class OpenAIModelSchema(Schema):
    """One model that can be asked for."""

    id = fields.String(required=True, **about("What to send as `model`."))
    object = fields.Constant("model", required=True)
    created = fields.Integer(required=True, **about("0: engines do not tell."))
    owned_by = fields.String(required=True, **about("The engine that offers it."))
    shutdown_date = fields.String(
        required=True, allow_none=True, **about("The day its vendor switches it off, or did.")
    )


class OpenAIModelsSchema(Schema):
    """All models, of every engine."""

    object = fields.Constant("list", required=True)
    data = fields.List(fields.Nested(OpenAIModelSchema), required=True)


class ErrorMemberSchema(Schema):
    message = fields.String(required=True)
    type = fields.String(required=True)
    param = fields.String(required=True, allow_none=True)
    code = fields.String(required=True, allow_none=True)


class ErrorSchema(Schema):
    """Why a request failed."""

    error = fields.Nested(ErrorMemberSchema, required=True)


def _text_part(kind: str) -> dict[str, Any]:
    return {"type": kind}


def _form(*required: str, **parts: dict[str, Any]) -> dict[str, Any]:
    """A form for the OpenAPI document, which knows pictures in JSON only."""
    schema = {"type": "object", "properties": parts, "required": list(required)}
    return {"content": {"multipart/form-data": {"schema": schema}}}


FILE = {"type": "string", "format": "binary"}

VARIATION_FORM = _form(
    "image",
    image=FILE | {"description": "The picture to vary."},
    model=_text_part("string"),
    n=_text_part("integer"),
    size=_text_part("string"),
    response_format={"type": "string", "enum": ["url", "b64_json"]},
    user=_text_part("string"),
)

EDIT_FORM = _form(
    "image",
    "prompt",
    image={
        "type": "array",
        "items": FILE,
        "maxItems": MAX_INPUT_IMAGES,
        "description": "Pictures to change; the parts may be called `image[]` or `image[0]` too.",
    },
    mask=FILE | {"description": "What is fully transparent in it is repainted."},
    prompt=_text_part("string"),
    model=_text_part("string"),
    n=_text_part("integer"),
    size=_text_part("string"),
    quality=_text_part("string"),
    background=_text_part("string"),
    output_format=_text_part("string"),
    response_format={"type": "string", "enum": ["url", "b64_json"]},
    stream=_text_part("boolean"),
    partial_images=_text_part("integer"),
    user=_text_part("string"),
)
