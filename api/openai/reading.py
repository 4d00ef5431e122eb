"""Requests as OpenAI's clients send them: JSON, or a form with files, read as the same JSON."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Never, TypeVar

import pybase64
from marshmallow import Schema, ValidationError, fields
from werkzeug.datastructures import FileStorage

from api.errors import Parser, flattened
from api.fields import Flag, WholeNumber
from api.openai.errors import MissingParameter, UnknownParameter
from darkroom.errors import InvalidRequest

T = TypeVar("T")

FORM = "multipart/form-data"

#: One picture of several is `image`, `image[]` or `image[0]`.
IMAGE = re.compile(r"image(?:\[(\d{0,4})\])?")
#: `svg[reasoning][effort]`
NESTED = re.compile(r"([^\[\]]+)((?:\[[^\[\]]+\])*)")
NUMBER = re.compile(r"-?\d{1,18}")

MISSING = fields.Field.default_error_messages["required"]


class OpenAIParser(Parser):
    """Takes null for absent, and files for pictures, and tells which way a field is wrong."""

    def load_json(self, req: Any, schema: Schema) -> Any:
        if "images" in schema.fields and req.mimetype == FORM:
            return _content_of_form(req, schema)
        return without_nulls(super().load_json(req, schema))

    def handle_error(self, error: Any, req: Any, schema: Schema, **_: Any) -> Never:
        raise wrong(error.messages.values(), schema)


def load(content: Any, schema: Schema) -> Any:
    """What `schema` makes of a body that came in another way. Raises InvalidRequest."""
    try:
        return schema.load(without_nulls(content))
    except ValidationError as error:
        raise wrong([error.messages], schema) from error


def without_nulls(content: Any) -> Any:
    """The same without the fields that are null: the SDK sends those for what was not said."""
    if not isinstance(content, Mapping):
        return content
    return {name: value for name, value in content.items() if value is not None}


def wrong(messages: Iterable[Any], schema: Schema) -> InvalidRequest:
    """The error for what marshmallow has to say; the first field at fault decides which."""
    problems = tuple(problem for each in messages for problem in flattened(each))
    param, reason = problems[0]
    if reason == schema.error_messages["unknown"]:
        return UnknownParameter(f"Unknown parameter: '{param}'.", param=param, problems=problems)
    if reason == MISSING:
        return MissingParameter(
            f"Missing required parameter: '{param}'.", param=param, problems=problems
        )
    return InvalidRequest(f"{param}: {reason}", param=param, problems=problems)


def _content_of_form(req: Any, schema: Schema) -> dict[str, Any]:
    if None in req.form or None in req.files:
        raise InvalidRequest("A part of the form has no name.", param="body")
    content: dict[str, Any] = {}
    for name, texts in req.form.lists():
        if IMAGE.fullmatch(name):
            raise InvalidRequest(f"{name}: It must be a file.", param=name)
        if name.startswith("images"):
            raise UnknownParameter(f"Unknown parameter in a form: '{name}'.", param=name)
        _put(content, name, _only(texts, name), schema)
    for name, files in req.files.lists():
        if not IMAGE.fullmatch(name):
            content[name] = _as_picture(_only([*files, *req.form.getlist(name)], name))
    content["images"] = [_as_picture(each) for each in _pictures(req)]
    if not content["images"]:
        raise MissingParameter("Missing required parameter: 'image'.", param="image")
    return content


def _only(values: Sequence[T], name: str) -> T:
    if len(values) > 1:
        raise InvalidRequest(f"{name}: It was sent more than once.", param=name)
    return values[0]


def _put(content: dict[str, Any], name: str, text: str, schema: Schema) -> None:
    """Put a text part where its name says, as the type that its field has."""
    match = NESTED.fullmatch(name)
    if match is None:
        content[name] = text
        return
    *path, last = [match[1], *re.findall(r"\[([^\[\]]+)\]", match[2])]
    inner = content
    for each in path:
        inner = inner.setdefault(each, {})
        if not isinstance(inner, dict):
            raise InvalidRequest(f"{name}: {each} is no object.", param=name)
    inner[last] = text if path else _typed(text, schema.fields.get(last))


def _typed(text: str, field: Any) -> Any:
    if isinstance(field, WholeNumber) and NUMBER.fullmatch(text):
        return int(text)
    if isinstance(field, Flag) and text in {"true", "false"}:
        return text == "true"
    return text


def _pictures(req: Any) -> Iterator[FileStorage]:
    """The files to change, in the order of their numbers, or else in which they came."""
    found = [
        (int(match[1] or 0), file)
        for name, file in req.files.items(multi=True)
        if (match := IMAGE.fullmatch(name))
    ]
    yield from (file for _, file in sorted(found, key=lambda each: each[0]))


def _as_picture(file: FileStorage) -> dict[str, str]:
    encoded = pybase64.b64encode(file.stream.read()).decode()
    # What it is, its bytes say; a nameless file is sent as of no known type.
    return {"image_url": f"data:{file.mimetype or 'image/png'};base64,{encoded}"}
