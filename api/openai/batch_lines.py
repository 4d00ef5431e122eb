"""The lines of a batch as OpenAI words them: an envelope around the body of one call.

Its documentation of the format is in the guide to its batch API.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from api.batches.intake import InvalidJsonLine
from api.openai.errors import MissingParameter, UnknownParameter
from api.openai.reading import load
from api.openai.schemas import EditsSchema, ImagesSchema
from api.orders import Order
from darkroom.domain import LONGEST_CUSTOM_ID
from darkroom.errors import InvalidRequest

#: What a line may ask for; a variation is a form, and no line can hold one.
ENDPOINTS: Mapping[str, type[ImagesSchema]] = {
    "/v1/images/generations": ImagesSchema,
    "/v1/images/edits": EditsSchema,
}

MEMBERS = frozenset({"custom_id", "method", "url", "body"})

#: How long a batch may take, in seconds: what OpenAI calls a completion window of 24h.
WINDOW_S = 24 * 3600

#: Where an order keeps which form its pictures are wanted in, in its metadata.
RESPONSE_FORMAT = "openai.response_format"


class UrlMismatch(InvalidRequest):
    """A line is for another route than the batch."""

    code = "url_mismatch"


class EnvelopeReader:
    """Reads the lines of a batch for one endpoint."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        # Our own field for it: a batch waits in the batch lane.
        self._schema = ENDPOINTS[endpoint](exclude=("lane",))

    def __call__(self, line: int, body: Any) -> Iterator[tuple[str, Order]]:
        if not isinstance(body, dict):
            raise InvalidJsonLine("A line must be a JSON object.", param="body")
        for name in body.keys() - MEMBERS:
            raise UnknownParameter(f"Unknown parameter: '{name}'.", param=name)
        for name in ("custom_id", "url", "body"):
            if body.get(name) is None:
                raise MissingParameter(f"Missing required parameter: '{name}'.", param=name)
        if not isinstance(body["body"], dict):
            raise InvalidRequest("body: It must be a JSON object.", param="body")
        if body["url"] != self._endpoint:
            raise UrlMismatch(
                f"The batch is for {self._endpoint}: put lines for others into another batch.",
                param="url",
            )
        if body.get("method", "POST") != "POST":
            raise InvalidRequest("The method must be POST.", param="method")
        yield _custom_id(body["custom_id"]), self._order(body["body"])

    def _order(self, content: Any) -> Order:
        asked = load(content, self._schema)
        if asked.is_streamed:
            raise InvalidRequest("A line of a batch cannot be streamed.", param="stream")
        order: Order = asked.order
        wanted = {RESPONSE_FORMAT: asked.response_format} if asked.response_format else {}
        return replace(
            order,
            metadata={**order.metadata, **wanted},
            deadline_s=min(order.deadline_s or WINDOW_S, WINDOW_S),
        )


def _custom_id(given: Any) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= LONGEST_CUSTOM_ID or "\0" in given:
        raise InvalidRequest(
            f"It must be a string of 1 to {LONGEST_CUSTOM_ID} characters.", param="custom_id"
        )
    return given
