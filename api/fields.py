"""Field types that take JSON at its word: no number in a string, no string for a flag."""

from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields

from api.orders import AUTO
from darkroom.domain import Lane, Size


def about(text: str, **more: Any) -> dict[str, Any]:
    """What the OpenAPI document says of a field: pass it on to the field."""
    return {"metadata": {"description": text, **more}}


class Text(fields.String):
    """A string. NUL characters are refused: no database column can hold them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = str(super()._deserialize(value, *args, **kwargs))
        if "\0" in text:
            raise ValidationError("It must not contain NUL characters.")
        return text


class WholeNumber(fields.Integer):
    """A JSON number without a fraction."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValidationError("It must be a whole number.")
        return value


class Flag(fields.Boolean):
    """`true` or `false`, nothing that merely looks like it."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("It must be true or false.")
        return value


class SizeText(Text):
    """`WIDTHxHEIGHT` in pixels, or `auto`."""

    def __init__(self, *, max_edge: int = 8192, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_edge = max_edge

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, *args, **kwargs)
        if text == AUTO:
            return text
        try:
            size = Size.parse(text)
        except ValueError as error:
            raise ValidationError(
                'It must be WIDTHxHEIGHT in pixels, such as "1024x1024", or "auto".'
            ) from error
        if not all(16 <= edge <= self.max_edge for edge in (size.width, size.height)):
            raise ValidationError(f"Each side must be from 16 to {self.max_edge} pixels.")
        return text


class LaneName(Text):
    """A lane, by its name in lower case."""

    names = tuple(each.name.lower() for each in Lane)

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        return Lane(value).name.lower()

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        name = super()._deserialize(value, *args, **kwargs)
        if name not in self.names:
            raise ValidationError(f"It must be one of: {', '.join(self.names)}.")
        return Lane[name.upper()]


class Address(Text):
    """An http or https URL, or nothing."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, *args, **kwargs).strip()
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise ValidationError("It must be an http or https URL.") from error
        if text and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ValidationError("It must be an http or https URL.")
        return text


class OneOrMany(fields.List[Any]):
    """A list, or one element in its place."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
        whole = value if isinstance(value, list) else [value]
        return list(super()._deserialize(whole, *args, **kwargs))


class SortedList(fields.List[Any]):
    """A set, shown in a steady order."""

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Any] | None:
        return super()._serialize(sorted(value), *args, **kwargs)
