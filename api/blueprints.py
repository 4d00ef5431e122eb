"""How a resource is declared: a blueprint whose requests and failures look like all others."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import Schema

from api.documenting import OF_A_RATE, QUOTA, RETRY_AFTER, SIGN_IN, Header
from api.errors import PROBLEM, Parser
from api.schemas import ProblemSchema

F = TypeVar("F", bound=Callable[..., Any])

REASONS = {
    400: "The request is invalid, or the pictures could not be made.",
    401: "Not signed in.",
    403: "Not permitted, or switched off.",
    404: "No such thing, or someone else's.",
    409: "In conflict with what there is.",
    412: "The picture has none of the ETags in `If-Match`.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    416: "The range is not in the file.",
    422: "The idempotency key was used with another request.",
    429: "As much as the user may have is queued, drawn or spent, or calls came too often: try"
    " again after `Retry-After` seconds.",
    503: "A part of the service is out of reach for now.",
}

#: The headers that come with a failure.
HEADERS = {401: SIGN_IN, 429: RETRY_AFTER | QUOTA, 503: RETRY_AFTER}


class Blueprint(SmorestBlueprint):
    """A blueprint that reads with our parser."""

    ARGUMENTS_PARSER = Parser()
    #: The form of its failures.
    PROBLEM_SCHEMA: type[Schema] = ProblemSchema
    PROBLEM_TYPE = PROBLEM
    REASONS: Mapping[int, str] = REASONS
    #: The headers that say what is left of a limited rate.
    RATE: Mapping[str, Header] = OF_A_RATE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.insert(0, self._prepare_problems_doc)
        self._prepare_doc_cbks.append(_prepare_headers_doc)
        self._prepare_doc_cbks.append(self._prepare_rate_doc)

    def heeds(self, *headers: Header) -> Callable[[F], F]:
        """Document which request headers an operation heeds."""

        def decorate(handler: F) -> F:
            handler.__dict__.setdefault("_apidoc", {})["heeds"] = headers
            return handler

        return decorate

    def _prepare_rate_doc(
        self, doc: dict[str, Any], doc_info: dict[str, Any], **_: Any
    ) -> dict[str, Any]:
        """Called for each operation when its answers are in the document."""
        if doc_info.get("is_rated"):
            for answer in doc["responses"].values():
                answer["headers"] = {**answer.get("headers", {}), **self.RATE}
        return doc

    def problems(self, *statuses: int) -> Callable[[F], F]:
        """Document which failures an operation answers with."""

        def decorate(handler: F) -> F:
            handler.__dict__.setdefault("_apidoc", {})["problems"] = statuses
            return handler

        return decorate

    def _prepare_problems_doc(
        self, doc: dict[str, Any], doc_info: dict[str, Any], **_: Any
    ) -> dict[str, Any]:
        """Called for each operation before its answers are in the document.

        What `alt_response` does for one status, without a wrapper around the handler for each.
        """
        answers = doc_info.setdefault("response", {}).setdefault("responses", {})
        for status in sorted(doc_info.get("problems", ()), reverse=True):
            problem = {
                "schema": self.PROBLEM_SCHEMA(),
                "description": self.REASONS[status],
                "content_type": self.PROBLEM_TYPE,
            }
            if headers := HEADERS.get(status):
                problem["headers"] = headers
            answers.setdefault(status, []).insert(0, problem)
        return doc


def _prepare_headers_doc(doc: dict[str, Any], doc_info: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Called for each operation when the document is made, after its other parameters are in."""
    if headers := doc_info.get("heeds"):
        doc.setdefault("parameters", []).extend(headers)
    return doc
