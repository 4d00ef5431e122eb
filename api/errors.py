"""Every failure as an RFC 9457 problem document: one table of statuses, one shape."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Never

import orjson
from flask import Response, g, json
from marshmallow import RAISE, Schema
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from api.money import standing_view
from darkroom import errors
from darkroom.domain import Job

PROBLEM = "application/problem+json"

#: HTTP status by exception class; the nearest ancestor counts.
STATUSES: Mapping[type[errors.DarkroomError], int] = {
    errors.DarkroomError: 500,
    errors.CallerError: 400,
    errors.BodyTooLarge: 413,
    errors.WrongMediaType: 415,
    errors.NotSignedIn: 401,
    errors.LimitReached: 429,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.IdempotencyConflict: 422,
    # Open WebUI's clients expect 400 when the pictures could not be made, whatever the cause.
    errors.EngineError: 400,
    errors.Unavailable: 503,
}

#: How many fields at fault are listed.
MOST_PROBLEMS = 1000

#: When to try again what failed because a part of the service is away, in seconds.
AWAY_S = 5.0

#: The stable `code` of what Flask and Werkzeug raise by themselves.
HTTP_CODES: Mapping[int, str] = {
    404: errors.NotFound.code,
    405: "method_not_allowed",
    412: "precondition_failed",
    413: errors.BodyTooLarge.code,
    415: errors.WrongMediaType.code,
    416: "range_not_satisfiable",
}


def problem(
    status: int,
    *,
    code: str,
    title: str,
    detail: str,
    retry_after_s: float | None = None,
    **members: Any,
) -> Response:
    """The document as a response; members that are None are left out."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": g.request_id,
        **{name: value for name, value in members.items() if value is not None},
    }
    response = Response(json.dumps(body), status=status, content_type=PROBLEM)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        retry_after_s = AWAY_S
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(math.ceil(retry_after_s))
    return response


def problem_of(error: errors.DarkroomError) -> Response:
    """The document for one of our own exceptions."""
    members: dict[str, Any] = {"param": getattr(error, "param", None)}
    if isinstance(error, errors.InvalidRequest) and error.problems:
        members["errors"] = [{"param": param, "detail": detail} for param, detail in error.problems]
    if isinstance(error, errors.InvalidBatch) and error.lines:
        members["errors"] = [asdict(each) for each in error.lines]
        members["error_count"] = error.count
    if isinstance(error, errors.EngineError):
        members |= {
            "retryable": error.retryable,
            "upstream_status": error.upstream_status,
            "upstream_code": error.upstream_code,
            "upstream_request_id": error.upstream_request_id,
        }
    if isinstance(error, errors.LimitReached):
        members["retry_after_s"] = error.retry_after_s
    if isinstance(error, errors.QuotaExceeded) and error.standing is not None:
        members["quota"] = standing_view(error.standing)
    return problem(
        _status_of(type(error)),
        code=error.code,
        title=error.title,
        detail=error.detail,
        **members,
    )


def problem_of_job(job: Job, url: str) -> Response:
    """The document for a job that ended without pictures."""
    error = job.error
    return problem(
        400,
        code=error.code if error else errors.Canceled.code,
        title=errors.EngineError.title if error else errors.Canceled.title,
        detail=error.detail if error else "The job was canceled.",
        param=error.param if error else None,
        engine=job.engine,
        model=job.model,
        job=url,
        retryable=error.retryable if error else None,
        upstream_status=error.upstream_status if error else None,
        upstream_code=error.upstream_code if error else None,
        upstream_request_id=error.upstream_request_id if error else None,
        warnings=list(job.warnings) or None,
    )


def problem_of_http(error: HTTPException) -> Response:
    """The document for what Flask and Werkzeug raise by themselves."""
    status = error.code or 500
    response = problem(
        status,
        code=HTTP_CODES.get(status, "internal_error" if status >= 500 else "http_error"),
        title=error.name,
        detail=detail_of_http(error),
        param="body" if status == 413 else None,
    )
    for name, value in error.get_headers():
        if name not in {"Content-Type", "Content-Length"}:
            response.headers[name] = value
    return response


def detail_of_http(error: HTTPException) -> str:
    """What went wrong, for a person."""
    if (error.code or 500) == 500:
        # Flask logged the traceback; the caller gets the id to find it by.
        return "Darkroom made a mistake; its log has the cause under this request's id."
    if error.code == 413:
        return "The request body is over the limit of this server: send a smaller one."
    return error.description or error.name


def _status_of(kind: type[errors.DarkroomError]) -> int:
    return next(STATUSES[each] for each in kind.__mro__ if each in STATUSES)


def parse_json(body: bytes, *, param: str = "body") -> Any:
    """Raises InvalidRequest that says where the JSON breaks; callers know it as `param`."""
    try:
        content = orjson.loads(body)
        # What nests too deeply to be written again cannot be kept.
        orjson.dumps(content)
    except orjson.JSONDecodeError as error:
        raise errors.InvalidRequest(
            f"The {param} is no valid JSON: {error}.", param=param
        ) from error
    except orjson.JSONEncodeError as error:
        raise errors.InvalidRequest(f"The {param} nests too deeply.", param=param) from error
    return content


class Parser(FlaskParser):
    """Reads requests through schemas, and says of every field at fault what is wrong with it."""

    DEFAULT_VALIDATION_STATUS = 400
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012 - as webargs has it
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": RAISE,
    }

    def load_json(self, req: Any, schema: Schema) -> Any:
        body = req.get_data()
        if not body:
            return {}
        if req.content_length is None and len(body) >= req.max_content_length:
            # It came in pieces and was cut off at the limit.
            raise RequestEntityTooLarge
        if not req.is_json:
            raise errors.WrongMediaType(
                f"The body is {req.mimetype or 'of no stated type'}: send JSON, with the header"
                " Content-Type: application/json.",
                param="Content-Type",
            )
        return parse_json(body)

    def handle_error(self, error: Any, req: Any, schema: Schema, **_: Any) -> Never:
        # By location: body, query and so on.
        raise invalid(*error.messages.values())


def invalid(*messages: Any) -> errors.InvalidRequest:
    """The error for what marshmallow has to say of a request."""
    problems = tuple(problem for each in messages for problem in flattened(each))
    param, reason = problems[0]
    more = f" ({len(problems) - 1} more in `errors`.)" if len(problems) > 1 else ""
    return errors.InvalidRequest(
        f"{param}: {reason}{more}", param=param, problems=problems[:MOST_PROBLEMS]
    )


def flattened(messages: Any, path: str = "") -> list[tuple[str, str]]:
    """Marshmallow's tree of messages as (dotted field, sentence)."""
    if isinstance(messages, Mapping):
        return [
            each
            for name, below in messages.items()
            for each in flattened(
                below, path if name in {"_schema", "value"} else f"{path}.{name}".lstrip(".")
            )
        ]
    return [(path or "body", message) for message in messages]
