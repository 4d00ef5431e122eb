"""Roles and limits in JSON."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from api.fields import Text, WholeNumber, about
from darkroom.domain import Limits, Size
from storage.tables import LONGEST_ROLE

#: What a role may be called; whether there is one of that name, only the database knows.
ROLE_NAME = validate.Length(1, LONGEST_ROLE)

#: More than any limit needs, and fits every database's integers.
MOST = 2**31 - 1

#: How many patterns of models a role may have.
MOST_PATTERNS = 1000


class Rectangle(Text):
    """`WIDTHxHEIGHT` in pixels."""

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str | None:
        return None if value is None else str(value)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        try:
            size = Size.parse(text)
        except ValueError as error:
            raise ValidationError(
                'It must be WIDTHxHEIGHT in pixels, such as "1024x1024".'
            ) from error
        if not (0 < size.width <= MOST and 0 < size.height <= MOST):
            raise ValidationError("Each side must be at least 1 pixel.")
        return size


def _most(description: str) -> WholeNumber:
    return WholeNumber(
        allow_none=True,
        load_default=None,
        validate=validate.Range(1, MOST),
        **about(description, default=None),
    )


class LimitsSchema(Schema):
    """How much an account may ask for. Null, or left out, says nothing about it: the role's limits
    hold for an account, and the server's settings for a role."""

    max_size = Rectangle(
        allow_none=True,
        load_default=None,
        **about(
            "The rectangle that a picture fits in, upright or on its side: `WIDTHxHEIGHT`.",
            example="1024x1024",
        ),
    )
    max_pixels = _most("Most pixels of one picture.")
    max_count = _most("Most pictures of one request: the largest `n`.")
    max_steps = _most("Most sampling steps.")
    max_queued = _most("Most jobs that are queued, and as many items of batches.")
    max_running = _most("Most jobs that run at once.")
    requests_per_minute = _most("Most calls for pictures in a minute.")
    requests_per_minute_per_key = _most("Most calls for pictures in a minute with one API key.")
    models = fields.List(
        Text(validate=validate.Length(1, 300)),
        allow_none=True,
        load_default=None,
        validate=validate.Length(max=MOST_PATTERNS),
        **about(
            "The models it may use, as `engine/model`; `*` stands for anything.",
            example=["builtin/*", "openai/gpt-image-*"],
        ),
    )

    @post_load
    def _make(self, loaded: dict[str, Any], **_: Any) -> Limits:
        models = loaded.pop("models")
        return Limits(**loaded, models=None if models is None else tuple(models))


class RoleSchema(Schema):
    """A role: a name for some limits."""

    name = fields.String(required=True)
    limits = fields.Nested(LimitsSchema, required=True)


class RoleChangeSchema(Schema):
    """What a role is to be."""

    limits = fields.Nested(LimitsSchema, required=True)
