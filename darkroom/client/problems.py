"""From what a server answers to the exceptions of `darkroom.errors`."""

from collections.abc import Mapping
from typing import Any

from darkroom import errors
from darkroom.errors import DarkroomError

#: What is raised for a code that this release does not know, by status.
NEAREST: Mapping[int, type[DarkroomError]] = {
    400: errors.InvalidRequest,
    401: errors.NotSignedIn,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.BodyTooLarge,
    415: errors.WrongMediaType,
    429: errors.LimitReached,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}

#: When to try again what was refused for now, where the server did not say, in seconds.
USUAL_RETRY_AFTER_S = 5.0


def error_of(
    problem: Mapping[str, Any], *, status: int, retry_after_s: float | None = None
) -> DarkroomError:
    """The exception for a problem document, which it keeps as `problem`.

    A code that is not known becomes the nearest class by status.
    """
    kind = _kind(str(problem.get("code", "")), _nearest(status))
    detail = str(problem.get("detail") or f"The server answered with status {status}.")
    error = _built(kind, detail, problem, retry_after_s)
    error.problem = problem
    return error


def error_of_job(error: Mapping[str, Any], **about: Any) -> DarkroomError:
    """The exception for the `error` of a job, a batch's item or a similar record.

    `about` goes into its `problem`, such as `job`.
    """
    problem = {**error, **about}
    made = _built(_kind(str(error["code"]), errors.EngineError), str(error["detail"]), problem)
    made.problem = problem
    return made


def _kind(code: str, otherwise: type[DarkroomError]) -> type[DarkroomError]:
    if otherwise.code == code:
        # Of the classes that share a code, the status tells which.
        return otherwise
    return _by_code(DarkroomError).get(code, otherwise)


def _by_code(root: type[DarkroomError]) -> dict[str, type[DarkroomError]]:
    """Classes by code, of `root` and all below it. A class that inherits its code has no say."""
    found: dict[str, type[DarkroomError]] = {}
    for each in root.__subclasses__():
        found |= _by_code(each)
    return found | ({root.code: root} if "code" in vars(root) else {})


def _nearest(status: int) -> type[DarkroomError]:
    if status in NEAREST:
        return NEAREST[status]
    return errors.CallerError if 400 <= status < 500 else DarkroomError


def _built(
    kind: type[DarkroomError],
    detail: str,
    problem: Mapping[str, Any],
    retry_after_s: float | None = None,
) -> DarkroomError:
    param = problem.get("param")
    if issubclass(kind, errors.InvalidRequest):
        return _invalid(kind, detail, problem)
    if issubclass(kind, errors.LimitReached):
        seconds = problem.get("retry_after_s", retry_after_s)
        return kind(detail, retry_after_s=USUAL_RETRY_AFTER_S if seconds is None else seconds)
    if issubclass(kind, errors.CallerError):
        return kind(detail, param=param)
    if issubclass(kind, errors.EngineError):
        return _failure(kind, detail, problem)
    return kind(detail)


def _failure(
    kind: type[errors.EngineError], detail: str, problem: Mapping[str, Any]
) -> errors.EngineError:
    error = (
        kind(detail)
        if issubclass(kind, errors.EngineBusy)
        else kind(detail, param=problem.get("param"))
    )
    error.upstream_status = problem.get("upstream_status")
    return error.traced(
        code=problem.get("upstream_code"), request_id=problem.get("upstream_request_id")
    )


def _invalid(
    kind: type[errors.InvalidRequest], detail: str, problem: Mapping[str, Any]
) -> errors.InvalidRequest:
    faults = problem.get("errors") or ()
    if any("line" in each for each in faults):
        lines = tuple(_line_problem(each) for each in faults if "line" in each)
        return errors.InvalidBatch(
            detail,
            param=problem.get("param"),
            lines=lines,
            count=problem.get("error_count", len(lines)),
        )
    return kind(
        detail,
        param=problem.get("param"),
        problems=tuple((str(each.get("param")), str(each.get("detail"))) for each in faults),
    )


def _line_problem(fault: Mapping[str, Any]) -> errors.LineProblem:
    return errors.LineProblem(
        line=fault["line"],
        param=str(fault.get("param") or ""),
        detail=str(fault.get("detail")),
        code=str(fault.get("code") or errors.InvalidRequest.code),
    )
