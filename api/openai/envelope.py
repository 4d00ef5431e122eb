"""Every failure as OpenAI words it: one envelope, one table.

The official SDK sends a call again after 408, 409, 429 and every 5xx, unless `x-should-retry` says
no. A repeat is asked for only where nothing was accepted, or where it finds the job that the first
call made. A job that ended is never to be repeated by a client: Darkroom has tried again whatever
could be.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, json, request
from werkzeug.exceptions import HTTPException

from api.errors import AWAY_S, detail_of_http
from api.openai.errors import MissingParameter, StillDrawing, UnknownParameter
from darkroom import errors
from darkroom.domain import Job, JobError

INVALID = "invalid_request_error"
OURS = "server_error"

#: When the same call may be sent again to go on waiting, in seconds.
AGAIN_S = 1.0

#: How OpenAI's GPT models name a refusal; its older ones say what stands in the table.
MODERATION = "moderation_blocked"


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How one kind of failure is told."""

    status: int
    type: str = INVALID
    code: str
    #: Whether the SDK is to send the call again; None leaves that to the status.
    should_retry: bool | None = None
    retry_after_s: float | None = None


#: By exception class; the nearest ancestor counts.
WORDINGS: Mapping[type[errors.DarkroomError], Wording] = {
    errors.DarkroomError: Wording(status=500, type=OURS, code=OURS, should_retry=False),
    StillDrawing: Wording(
        status=504, type=OURS, code="timeout", should_retry=True, retry_after_s=AGAIN_S
    ),
    # The request.
    errors.CallerError: Wording(status=400, code="invalid_value"),
    MissingParameter: Wording(status=400, code="missing_required_parameter"),
    UnknownParameter: Wording(status=400, code="unknown_parameter"),
    errors.Unsupported: Wording(status=400, code="unsupported_value"),
    errors.UnknownModel: Wording(status=404, code="model_not_found"),
    errors.BodyTooLarge: Wording(status=413, code="body_too_large"),
    errors.WrongMediaType: Wording(status=415, code="unsupported_content_type"),
    errors.NotSignedIn: Wording(status=401, code="invalid_api_key"),
    errors.PermissionDenied: Wording(status=403, code="permission_denied"),
    errors.Disabled: Wording(status=403, code="disabled"),
    errors.NotFound: Wording(status=404, code="not_found"),
    errors.Conflict: Wording(status=409, code="conflict", should_retry=False),
    errors.IdempotencyConflict: Wording(status=422, code="idempotency_conflict"),
    errors.LimitReached: Wording(
        status=429, type="requests", code="rate_limit_exceeded", should_retry=True
    ),
    errors.QuotaExceeded: Wording(
        status=429, type="insufficient_quota", code="insufficient_quota", should_retry=False
    ),
    # The engine.
    errors.EngineError: Wording(status=500, type=OURS, code=OURS, should_retry=False),
    errors.EngineBusy: Wording(
        status=429, type="requests", code="rate_limit_exceeded", should_retry=False
    ),
    errors.EngineUnreachable: Wording(
        status=502, type=OURS, code="engine_unreachable", should_retry=False
    ),
    errors.RequestRejected: Wording(status=400, code="invalid_value"),
    errors.ContentRefused: Wording(
        status=400, type="image_generation_user_error", code="content_policy_violation"
    ),
    errors.Misconfigured: Wording(
        status=500, type=OURS, code="engine_misconfigured", should_retry=False
    ),
    errors.ModelNotOffered: Wording(status=404, code="model_not_found"),
    errors.QuotaExhausted: Wording(
        status=429, type="insufficient_quota", code="insufficient_quota", should_retry=False
    ),
    errors.InvalidPicture: Wording(
        status=502, type=OURS, code="picture_invalid", should_retry=False
    ),
    errors.DeadlineExceeded: Wording(
        status=504, type=OURS, code="deadline_exceeded", should_retry=False
    ),
    errors.OutcomeUnknown: Wording(
        status=502, type=OURS, code="outcome_unknown", should_retry=False
    ),
    # Darkroom itself.
    errors.Unavailable: Wording(
        status=503,
        type="service_unavailable_error",
        code="server_is_overloaded",
        should_retry=True,
        retry_after_s=AWAY_S,
    ),
    errors.Canceled: Wording(status=409, code="canceled", should_retry=False),
}

#: What our errors name that is no field of a body, and so no `param` of OpenAI's.
NO_FIELDS = frozenset({"body", "Authorization", "Content-Type", "Idempotency-Key"})

#: The code of what Flask and Werkzeug raise by themselves.
HTTP_CODES: Mapping[int, str] = {
    404: "unknown_url",
    405: "method_not_allowed",
    413: WORDINGS[errors.BodyTooLarge].code,
    415: WORDINGS[errors.WrongMediaType].code,
    416: "range_not_satisfiable",
}


def error_body(
    wording: Wording, message: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The envelope itself, as an answer, an event or a batch line carries it."""
    return {
        "error": {
            "message": message,
            "type": wording.type,
            "param": None if param is None or param in NO_FIELDS else _as_openai_writes(param),
            "code": code or wording.code,
        }
    }


def envelope_of(error: errors.DarkroomError) -> Response:
    """The answer for one of our own exceptions."""
    wording = wording_of(type(error))
    retry_after_s = getattr(error, "retry_after_s", None) or wording.retry_after_s
    return _answer(wording, body_of_error(error), retry_after_s=retry_after_s)


def body_of_error(error: errors.DarkroomError) -> dict[str, Any]:
    """The envelope for one of our own exceptions."""
    param = getattr(error, "param", None)
    return error_body(wording_of(type(error)), error.detail, param=param)


def envelope_of_http(error: HTTPException) -> Response:
    """The answer for what Flask and Werkzeug raise by themselves."""
    status = error.code or 500
    wording = Wording(
        status=status,
        type=OURS if status >= 500 else INVALID,
        code=HTTP_CODES.get(status, OURS if status >= 500 else "http_error"),
        should_retry=False if status >= 500 else None,
    )
    message = detail_of_http(error)
    if status == 404:
        message = f"Invalid URL ({request.method} {request.path})."
    response = _answer(wording, error_body(wording, message))
    for name, value in error.get_headers():
        if name not in {"Content-Type", "Content-Length"}:
            response.headers[name] = value
    return response


def envelope_of_job(job: Job) -> Response:
    """The answer for a job that ended without pictures."""
    return _answer(wording_of(kind_of(job.error)), body_of_job(job))


def body_of_job(job: Job) -> dict[str, Any]:
    """The envelope for a job that ended without pictures."""
    error = job.error
    wording = wording_of(kind_of(error))
    if error is None:
        return error_body(wording, "The job was canceled.")
    refused = error.code == errors.ContentRefused.code
    code = MODERATION if refused and error.upstream_code == MODERATION else None
    return error_body(wording, error.detail, param=error.param, code=code)


def kind_of(error: JobError | None) -> type[errors.DarkroomError]:
    """The class of a job's error; that of a cancel where there is none."""
    if error is None:
        return errors.Canceled
    return KINDS.get(error.code, errors.EngineError)


def wording_of(kind: type[errors.DarkroomError]) -> Wording:
    """How that kind of failure is told."""
    return next(WORDINGS[each] for each in kind.__mro__ if each in WORDINGS)


def _answer(
    wording: Wording, body: dict[str, Any], *, retry_after_s: float | None = None
) -> Response:
    response = Response(json.dumps(body), status=wording.status, content_type="application/json")
    if wording.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(math.ceil(retry_after_s))
    if wording.should_retry is not None:
        response.headers["x-should-retry"] = str(wording.should_retry).lower()
    return response


def _as_openai_writes(param: str) -> str:
    """`image.0` as `image[0]`."""
    return re.sub(r"\.(\d+)", r"[\1]", param)


def _below(kind: type[errors.EngineError]) -> Iterator[type[errors.EngineError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _below(each)


#: The class of each code that a failed job may have.
KINDS: Mapping[str, type[errors.DarkroomError]] = {
    each.code: each for each in _below(errors.EngineError)
}
