"""Calls with what they hold: JSON, or a form with text and files."""

import io
import json
from dataclasses import dataclass
from typing import Any

from werkzeug.formparser import FormDataParser

from tests.engines.servers.openai_faults import Fault, Refused
from tests.engines.servers.stand_in import Call

PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp")


@dataclass(frozen=True)
class File:
    """One file of a form."""

    part: str
    name: str
    type: str
    data: bytes


@dataclass(frozen=True)
class OpenAICall(Call):
    """One call as it arrived, and read."""

    #: The JSON object that was sent, or the text parts of a form; empty for anything else.
    body: Any
    files: tuple[File, ...] = ()

    def json(self) -> Any:
        return self.body


def read_call(call: Call) -> OpenAICall:
    """`call`, with its body read."""
    kind = call.headers.get("content-type", "")
    body: Any = {}
    files: tuple[File, ...] = ()
    if kind.startswith("application/json"):
        body = json.loads(call.body)
    elif kind.startswith("multipart/form-data"):
        body, files = _read_form(call.body, kind)
    return OpenAICall(call.method, call.path, call.query, call.headers, body, files)


def _read_form(content: bytes, kind: str) -> tuple[dict[str, Any], tuple[File, ...]]:
    mimetype, _, rest = kind.partition(";")
    boundary = rest.strip().removeprefix("boundary=")
    parser = FormDataParser(stream_factory=lambda *_, **__: io.BytesIO(), silent=False)
    _, text, files = parser.parse(
        io.BytesIO(content), mimetype, len(content), {"boundary": boundary}
    )
    # A name that comes twice stays a list, for the rules to find.
    fields = {name: values[0] if len(values) == 1 else values for name, values in text.lists()}
    return fields, tuple(
        File(part, each.filename or "", each.content_type or "", each.stream.read())
        for part, each in files.items(multi=True)
    )


def typed(fields: dict[str, Any]) -> dict[str, Any]:
    """The text parts of a form as JSON would have said them. Raises Refused."""
    return {name: _typed(name, value) for name, value in fields.items()}


def _typed(name: str, value: Any) -> Any:
    if isinstance(value, list):
        message = f"Duplicate parameter: '{name}'."
        raise Refused(Fault(400, "duplicate_parameter", message=message), name)
    if name == "stream":
        if value not in {"true", "false"}:
            raise Refused(Fault(400, "invalid_type", message=f"Expected a boolean: {value}"), name)
        return value == "true"
    if name in {"n", "partial_images", "output_compression"}:
        if not value.isdigit():
            raise Refused(Fault(400, "invalid_type", message=f"Expected an integer: {value}"), name)
        return int(value)
    return value
