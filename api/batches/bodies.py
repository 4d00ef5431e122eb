"""The body of a new batch: one JSON document, or lines of JSON of any length."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from flask import request
from marshmallow import ValidationError

from api.auth import current_user
from api.batches.items import ItemReader, Shared
from api.batches.lines import Lines
from api.batches.results import NDJSON
from api.batches.schemas import NewBatchSchema, SharedSchema
from api.batches.submission import replayed, submit_batch
from api.errors import Parser, invalid, parse_json
from api.services import Services
from darkroom.domain import Batch
from darkroom.errors import InvalidRequest

#: What lines of JSON are called; the first is how we call them.
LINE_TYPES = frozenset(
    {NDJSON, "application/jsonl", "application/x-jsonlines", "application/ndjson"}
)


def accept_body(query: Mapping[str, str], services: Services) -> Batch:
    """Accept the batch in this request's body. Raises as `submit_batch`, and InvalidRequest."""
    if request.mimetype in LINE_TYPES:
        return _accept_lines(query, services)
    if query:
        name = next(iter(query))
        raise InvalidRequest(f"{name}: With a JSON body it belongs into the body.", param=name)
    return _accept_document(services)


def _accept_lines(query: Mapping[str, str], services: Services) -> Batch:
    said = _shared(query)
    request.max_content_length = services.settings.max_batch_bytes
    with Lines(longest_bytes=services.settings.max_body_bytes) as lines:
        lines.take_in(request.stream)
        digest = _digest(lines.digest(), orjson.dumps(said, option=orjson.OPT_SORT_KEYS))
        earlier = replayed(current_user().id, digest, services)
        if earlier is not None:
            return earlier
        return submit_batch(lines.numbered(), services, request_hash=digest, **_options(said))


def _accept_document(services: Services) -> Batch:
    said = Parser().parse(NewBatchSchema(), request, location="json")
    digest = _digest("", request.get_data())
    earlier = replayed(current_user().id, digest, services)
    if earlier is not None:
        return earlier
    items = enumerate(said.pop("items"), start=1)
    return submit_batch(items, services, request_hash=digest, **_options(said))


def _options(said: Mapping[str, Any]) -> dict[str, Any]:
    shared = Shared(defaults=said.get("defaults") or {}, expand=said.get("expand") or {})
    return {
        "read": ItemReader(shared),
        "name": said.get("name"),
        "metadata": said.get("metadata"),
    }


def _shared(query: Mapping[str, str]) -> dict[str, Any]:
    """What the query says of all lines. Raises InvalidRequest."""
    said: dict[str, Any] = {}
    for name, text in query.items():
        said[name] = text if name == "name" else parse_json(text.encode(), param=name)
    try:
        return dict(SharedSchema().load(said))
    except ValidationError as error:
        raise invalid(error.messages) from error


def _digest(body: str, rest: bytes) -> str:
    return hashlib.sha256(body.encode() + b"\n" + rest).hexdigest()
