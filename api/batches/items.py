"""Items: the lines of our own batches, each a request as it is sent to the images routes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import Schema, ValidationError

from api.batches.expanding import expanded, read_matrix
from api.batches.intake import InvalidJsonLine
from api.orders import Order
from api.schemas import EditSchema, GenerationSchema
from darkroom.domain import LONGEST_CUSTOM_ID, Operation

#: How much of a `custom_id` is left for the number of an expanded item, in characters.
ROOM_FOR_NUMBER = 6


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What holds for all items that do not say otherwise."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    expand: Mapping[str, Any] = field(default_factory=dict)


class ItemReader:
    """Reads items with what they share."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        # An item has no lane of its own: a batch waits in the batch lane.
        self._schemas: Mapping[Operation, Schema] = {
            Operation.GENERATE: GenerationSchema(exclude=("lane",)),
            Operation.EDIT: EditSchema(exclude=("lane",)),
        }

    def __call__(self, line: int, body: Any) -> Iterator[tuple[str, Order]]:
        if not isinstance(body, dict):
            raise InvalidJsonLine("An item must be a JSON object.", param="body")
        said = {name: value for name, value in body.items() if value is not None}
        item = {**self._shared.defaults, **said}
        custom_id = _custom_id(item.pop("custom_id", None), line)
        matrix = read_matrix(item.pop("expand", self._shared.expand))
        for each_id, each in expanded(item, custom_id, matrix):
            operation = Operation.EDIT if each.get("image") is not None else Operation.GENERATE
            yield each_id, self._schemas[operation].load(each)


def _custom_id(given: Any, line: int) -> str:
    if given is None:
        return f"line-{line}"
    longest = LONGEST_CUSTOM_ID - ROOM_FOR_NUMBER
    if not isinstance(given, str) or not 0 < len(given) <= longest or "\0" in given:
        raise ValidationError({"custom_id": [f"It must be a string of 1 to {longest} characters."]})
    return given
