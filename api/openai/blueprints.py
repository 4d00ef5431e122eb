"""How a resource of OpenAI's dialect is declared: read and answered as its SDK expects."""

from collections.abc import Mapping
from typing import Any

from api.blueprints import REASONS, Blueprint
from api.documenting import OF_AN_OPENAI_RATE
from api.openai.reading import OpenAIParser
from api.openai.schemas import ErrorSchema


class OpenAIBlueprint(Blueprint):
    """A blueprint whose failures have OpenAI's envelope."""

    ARGUMENTS_PARSER = OpenAIParser()
    PROBLEM_SCHEMA = ErrorSchema
    PROBLEM_TYPE = "application/json"
    RATE = OF_AN_OPENAI_RATE
    REASONS = REASONS | {
        400: "The request is invalid, or was refused.",
        404: "No such model, or no such thing.",
        409: "The job was canceled.",
        415: "The body is of no type that is read here.",
        429: "The queue is full, calls came too often, or the engine is busy or has no quota left;"
        " `code` says which.",
        500: "The pictures could not be made.",
        502: "The engine is out of reach, or its answer is of no use.",
        504: "The job goes on: send the same request again to wait on for it.",
    }


#: What a call for pictures may be answered with besides them.
DRAWING_FAILURES = (400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504)

#: The other form of an answer, for calls that ask for a stream.
EVENTS: Mapping[str, Any] = {
    "status_code": 200,
    "schema": {"type": "string", "description": "Server-sent events."},
    "content_type": "text/event-stream",
}
