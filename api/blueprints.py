"""How a resource is declared: a blueprint whose requests and failures look like all others."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import Schema

from api.errors import PROBLEM, Parser
from api.schemas import ProblemSchema

F = TypeVar("F", bound=Callable[..., Any])

REASONS = {
    400: "The request is invalid, or the pictures could not be made.",
    401: "Not signed in.",
    403: "Not permitted, or switched off.",
    404: "No such thing, or someone else's.",
    409: "In conflict with what there is.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    416: "The range is not in the file.",
    422: "The idempotency key was used with another request.",
    429: "As much as the user may have is queued: try again after `Retry-After` seconds.",
    503: "A part of the service is out of reach for now.",
}


class Blueprint(SmorestBlueprint):
    """A blueprint that reads with our parser."""

    ARGUMENTS_PARSER = Parser()
    #: The form of its failures.
    PROBLEM_SCHEMA: type[Schema] = ProblemSchema
    PROBLEM_TYPE = PROBLEM
    REASONS: Mapping[int, str] = REASONS

    def problems(self, *statuses: int) -> Callable[[F], F]:
        """Document which failures an operation answers with."""

        def decorate(handler: F) -> F:
            for status in sorted(statuses, reverse=True):
                handler = self.alt_response(
                    status,
                    schema=self.PROBLEM_SCHEMA,
                    description=self.REASONS[status],
                    content_type=self.PROBLEM_TYPE,
                )(handler)
            return handler

        return decorate
