"""Every failure Darkroom can name.

```
DarkroomError
├── SettingsError             the service cannot start as configured
├── CallerError               the request cannot be served as it was sent
│   ├── InvalidRequest        a field is missing, malformed or out of range
│   │   ├── InvalidBatch      items of a batch are
│   │   ├── UnknownModel      no enabled engine offers this model
│   │   ├── Unsupported       the model cannot honour a parameter (strict requests only)
│   │   └── PriceUnknown      a budget cannot be kept with a model whose price nobody knows
│   ├── BodyTooLarge
│   ├── WrongMediaType
│   ├── NotSignedIn
│   ├── LimitReached          as much as this user may have is queued
│   │   ├── RateLimited       too many calls for pictures within a minute
│   │   ├── TooManySignIns    too many attempts at a password
│   │   └── QuotaExceeded     as many images as a user may have in a day or month
│   │       └── BudgetExceeded    as much money
│   ├── PermissionDenied
│   │   ├── Disabled          an admin switched this off
│   │   └── ModelNotAllowed   the account's limits do not include it
│   ├── NotFound
│   └── Conflict
│       └── IdempotencyConflict   the key was used before with another request
├── EngineError               an engine did not draw the picture
│   ├── EngineBusy            asked to come back later; nothing was drawn
│   ├── EngineUnreachable     no connection; nothing was drawn
│   ├── RequestRejected       the engine refused the parameters
│   ├── ContentRefused        the engine refused the prompt or the result
│   ├── Misconfigured         wrong key, address or model; an admin must act
│   │   └── ModelNotOffered   the engine has no such model
│   ├── QuotaExhausted        the account has no money or quota left
│   ├── EngineFailed          the engine tried and broke
│   ├── InvalidPicture        the engine answered with something that is no picture
│   ├── DeadlineExceeded      nobody wants the result any more
│   ├── WorkersDied           every attempt lost its worker
│   └── OutcomeUnknown        the call may have happened, and may have been charged
├── Unavailable               a part of Darkroom itself is out of reach for now
│   ├── FileStoreUnavailable  the file store does not answer, or refuses
│   └── KeysUnreadable        stored engine keys were saved with another secret
└── Interrupted               the work was stopped on purpose
    ├── Canceled              someone asked for it
    ├── LeaseLost             another worker owns the job now
    └── WorkerStops           the worker took the job too late to begin it
```

`code` is stable and part of the API. `detail` is one sentence for a person: the cause, then the
next step. It never holds a secret, a traceback or a server path.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self


class DarkroomError(Exception):
    """The root: everything below is raised on purpose and has words for a person."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong"

    #: The problem document that a client was answered with, where the error came as one: its
    #: `code`, `request_id`, `job` and so on.
    problem: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class SettingsError(DarkroomError):
    """The service cannot start as configured; `detail` names the variable."""

    code = "settings_invalid"
    title = "Invalid settings"


class CallerError(DarkroomError):
    """The request cannot be served as it was sent."""

    code = "request_invalid"
    title = "Invalid request"

    #: The field at fault, in the caller's own words, when there is one.
    param: str | None

    def __init__(self, detail: str, *, param: str | None = None) -> None:
        super().__init__(detail)
        self.param = param


class InvalidRequest(CallerError):
    """One or more fields are missing, malformed or out of range."""

    #: Every field at fault with its reason, in the order they were found.
    problems: tuple[tuple[str, str], ...]

    def __init__(
        self,
        detail: str,
        *,
        param: str | None = None,
        problems: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail, param=param)
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class LineProblem:
    """What is wrong with one line of a batch."""

    #: From 1.
    line: int
    param: str
    detail: str
    #: The code of the error that the line alone would be answered with.
    code: str = InvalidRequest.code


class InvalidBatch(InvalidRequest):
    """Items of a batch are missing, malformed or out of range; none was accepted."""

    #: The first of them; `count` is how many there are.
    lines: tuple[LineProblem, ...]

    def __init__(
        self,
        detail: str,
        *,
        param: str | None = None,
        lines: tuple[LineProblem, ...] = (),
        count: int = 0,
    ) -> None:
        super().__init__(detail, param=param)
        self.lines = lines
        self.count = count


class UnknownModel(InvalidRequest):
    """No enabled engine offers the model."""

    code = "model_not_found"
    title = "Unknown model"


class Unsupported(InvalidRequest):
    """The model cannot honour a parameter, and the request said `strict`."""

    code = "parameter_unsupported"
    title = "Unsupported parameter"


class PriceUnknown(InvalidRequest):
    """The user has a budget, and nobody knows what the model costs."""

    code = "price_unknown"
    title = "Unknown price"


class BodyTooLarge(CallerError):
    """The request body is over the limit."""

    code = "body_too_large"
    title = "Request body too large"


class WrongMediaType(CallerError):
    """The request body is of a type that is not read here."""

    code = "media_type_unsupported"
    title = "Unsupported media type"


class NotSignedIn(CallerError):
    """No token, or one that is not valid (any more)."""

    code = "not_signed_in"
    title = "Not signed in"


class LimitReached(CallerError):
    """As much as this user may have is queued already."""

    code = "limit_reached"
    title = "Limit reached"

    #: Seconds after which it is worth another try.
    retry_after_s: float

    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class QuotaExceeded(LimitReached):
    """As many images as this user may have in a day or month are drawn or asked for already."""

    code = "quota_exceeded"
    title = "Quota used up"

    #: How the limit stands: a `darkroom.quotas.Standing`.
    standing: Any

    def __init__(self, detail: str, *, retry_after_s: float, standing: Any = None) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.standing = standing


class BudgetExceeded(QuotaExceeded):
    """As much money as this user may spend in a day or month is spent or reserved already."""

    code = "budget_exceeded"
    title = "Budget used up"


class RateLimited(LimitReached):
    """This user, or this API key, asked for pictures too often within a minute."""

    code = "rate_limited"
    title = "Too many requests"


class TooManySignIns(LimitReached):
    """An account or an address had too many attempts at its password."""

    code = "too_many_sign_ins"
    title = "Too many sign-ins"


class PermissionDenied(CallerError):
    """Signed in, but not allowed."""

    code = "permission_denied"
    title = "Permission denied"


class Disabled(PermissionDenied):
    """An admin switched this part of the service off."""

    code = "disabled"
    title = "Disabled"


class ModelNotAllowed(PermissionDenied):
    """The account's limits do not include this model."""

    code = "model_not_allowed"
    title = "Model not allowed"

    def __init__(self, detail: str, *, param: str | None = "model") -> None:
        super().__init__(detail, param=param)


class NotFound(CallerError):
    """No such thing, or it belongs to someone else."""

    code = "not_found"
    title = "Not found"


class Conflict(CallerError):
    """The thing exists already, or is in a state that does not allow this."""

    code = "conflict"
    title = "Conflict"


class IdempotencyConflict(Conflict):
    """The idempotency key was used before with another request."""

    code = "idempotency_conflict"
    title = "Idempotency key reused"


class EngineError(DarkroomError):
    """An engine did not draw the picture."""

    code = "engine_error"
    title = "Image generation failed"

    #: Whether the same request may succeed later without anyone changing anything.
    retryable: ClassVar[bool] = False

    #: HTTP status of the engine's answer, when it gave one.
    upstream_status: int | None
    #: The vendor's own word for the failure, and its id of the call, where it gave them.
    upstream_code: str | None = None
    upstream_request_id: str | None = None
    #: The engine's own parameter name, when it named one.
    param: str | None

    def __init__(
        self, detail: str, *, upstream_status: int | None = None, param: str | None = None
    ) -> None:
        super().__init__(detail)
        self.upstream_status = upstream_status
        self.param = param

    def traced(self, *, code: str | None = None, request_id: str | None = None) -> Self:
        """The same error with what its vendor's support would ask for."""
        self.upstream_code = code
        self.upstream_request_id = request_id
        return self


class EngineBusy(EngineError):
    """The engine asked to come back later. Nothing was drawn or charged."""

    code = "engine_busy"
    retryable = True

    #: Seconds the engine asked to wait, when it said so.
    retry_after_s: float | None

    def __init__(
        self,
        detail: str,
        *,
        upstream_status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail, upstream_status=upstream_status)
        self.retry_after_s = retry_after_s


class EngineUnreachable(EngineError):
    """No connection to the engine. Nothing was drawn or charged."""

    code = "engine_unreachable"
    retryable = True


class RequestRejected(EngineError):
    """The engine refused the parameters; the same request will be refused again."""

    code = "request_rejected"


class ContentRefused(EngineError):
    """The engine's safety system refused the prompt or the result."""

    code = "content_refused"


class Misconfigured(EngineError):
    """Wrong key, address or model: an admin must act."""

    code = "engine_misconfigured"


class ModelNotOffered(Misconfigured):
    """The engine has no such model, or not for this account; its other models may work."""

    code = "model_unavailable"


class QuotaExhausted(EngineError):
    """The engine's account has no money or quota left: an admin must act."""

    code = "quota_exhausted"


class EngineFailed(EngineError):
    """The engine tried and broke."""

    code = "engine_failed"


class InvalidPicture(EngineError):
    """The engine answered with bytes that are no usable picture."""

    code = "picture_invalid"


class DeadlineExceeded(EngineError):
    """The job was not finished when its caller's deadline came."""

    code = "deadline_exceeded"


class WorkersDied(EngineError):
    """Each attempt ended with the death of its worker."""

    code = "workers_died"


class OutcomeUnknown(EngineError):
    """The call may have happened, and may have been charged, but its answer was lost."""

    code = "outcome_unknown"


class Unavailable(DarkroomError):
    """A part of Darkroom itself (database, broker, file store) is out of reach for now."""

    code = "unavailable"
    title = "Temporarily unavailable"


class FileStoreUnavailable(Unavailable):
    """The file store does not answer, or refuses what it was asked for."""


class KeysUnreadable(Unavailable):
    """Stored engine keys were encrypted with a secret that this process does not have."""

    code = "keys_unreadable"
    title = "Stored keys cannot be read"


class Interrupted(DarkroomError):
    """The work was stopped on purpose; not a failure."""

    code = "interrupted"
    title = "Interrupted"


class Canceled(Interrupted):
    """Someone asked for the job to be canceled."""

    code = "canceled"
    title = "Canceled"


class LeaseLost(Interrupted):
    """Another worker owns the job now; whatever this one holds must be dropped."""

    code = "lease_lost"
    title = "Lease lost"


class WorkerStops(Interrupted):
    """The worker took the job while it was stopping; it must go back before it is begun."""

    code = "worker_stops"
    title = "Worker stops"
