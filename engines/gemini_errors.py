"""What a Google-style server means by an answer that is an error."""

import re
from dataclasses import dataclass
from typing import Any, Self

from darkroom.domain import Model
from darkroom.errors import (
    EngineBusy,
    EngineError,
    Misconfigured,
    ModelNotOffered,
    QuotaExhausted,
    RequestRejected,
)
from engines.answers import Answer
from engines.calls import error_by_status
from engines.gemini_answers import field, items_of, text_of, word
from engines.scrubbing import Scrubber

KEY_SETTING = "DARKROOM_IMAGES_GEMINI_API_KEY"
ADDRESS_SETTING = "DARKROOM_IMAGES_GEMINI_API_BASE_URL"
METHOD_SETTING = "DARKROOM_IMAGES_GEMINI_ENDPOINT_METHOD"
MODEL_SETTING = "DARKROOM_IMAGE_GENERATION_MODEL"

#: A wrong key is not 401 but 400, with this reason.
BAD_KEY = "API_KEY_INVALID"
#: A length of time as protobuf writes it.
SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """The error of an answer, as far as there is one."""

    #: The HTTP status, which a gateway may have put into the body only.
    status: int
    message: str = ""
    #: Google's word for the class of the error, such as `RESOURCE_EXHAUSTED`.
    word: str = ""
    #: More exact words, such as `API_KEY_INVALID`.
    reasons: frozenset[str] = frozenset()
    #: The limits that were hit.
    quotas: tuple[str, ...] = ()
    retry_after_s: float | None = None
    param: str | None = None

    @classmethod
    def read(cls, answer: Answer) -> Self:
        error = field(content_of(answer), "error")
        if not isinstance(error, dict):
            message = error if isinstance(error, str) else ""
            return cls(status=answer.status, message=message, retry_after_s=answer.retry_after_s)
        details = items_of(error, "details")
        violations = [each for one in details for each in items_of(one, "violations")]
        fields = [each for one in details for each in items_of(one, "fieldViolations")]
        return cls(
            status=_status(error.get("code"), answer),
            message=text_of(error, "message"),
            word=text_of(error, "status"),
            reasons=frozenset(text_of(each, "reason") for each in details) - {""},
            quotas=tuple(text_of(each, "quotaId") for each in violations),
            retry_after_s=_retry_after_s(details, answer),
            param=next(filter(None, (text_of(each, "field") for each in fields)), None),
        )

    @property
    def code(self) -> str | None:
        """The most exact of the vendor's words."""
        return word(BAD_KEY if BAD_KEY in self.reasons else self.word)


def content_of(answer: Answer) -> Any:
    """The parsed body. Gateways and streams wrap it in a list of one."""
    content = answer.json()
    return content[0] if isinstance(content, list) and len(content) == 1 else content


def error_for(answer: Answer, *, engine: str, model: Model | None, scrub: Scrubber) -> EngineError:
    """The error that `answer` stands for, with the next step in its words.

    `model` is the one that was asked to draw, if any.
    """
    problem = _Problem.read(answer)
    request_id = answer.headers.get("x-request-id")
    error = _by_status(problem, answer, engine, model, scrub)
    return error.traced(code=problem.code, request_id=scrub(request_id) if request_id else None)


def _by_status(
    problem: _Problem, answer: Answer, engine: str, model: Model | None, scrub: Scrubber
) -> EngineError:
    name, status = f"Engine {engine!r}", problem.status
    said = f' It said: "{scrub(problem.message)}"' if problem.message else ""
    match status:
        case _ if status == 401 or BAD_KEY in problem.reasons:
            return Misconfigured(
                f"{name} does not accept its key: correct {KEY_SETTING}.{said}",
                upstream_status=status,
            )
        case 400 if problem.word == "FAILED_PRECONDITION":
            return Misconfigured(
                f"{name} does not serve this account as it is: switch on its billing, or use a key"
                f" of another project.{said}",
                upstream_status=status,
            )
        case 402:
            return QuotaExhausted(
                f"The account of engine {engine!r} has no money left: top it up.{said}",
                upstream_status=status,
            )
        case 403:
            return Misconfigured(
                f"{name} does not let this account draw: allow its project to use the API, or"
                f" correct {KEY_SETTING}.{said}",
                upstream_status=status,
            )
        case 404 if model is not None and problem.word == "NOT_FOUND":
            return ModelNotOffered(_no_model(name, model) + said, upstream_status=status)
        case 404 | 405:
            return Misconfigured(
                f"{name} does not speak Google's API at its address: correct"
                f" {ADDRESS_SETTING}.{said}",
                upstream_status=status,
            )
        case 413:
            return RequestRejected(
                f"{name} finds the request too large: send fewer or smaller pictures.{said}",
                upstream_status=status,
            )
        case 429 if any("PerDay" in each for each in problem.quotas):
            # It names a short delay all the same.
            return QuotaExhausted(
                f"The account of engine {engine!r} has used what it may use per day: wait for the"
                f" next day, or raise its limit.{said}",
                upstream_status=status,
            )
        case 429 | 503:
            return EngineBusy(
                f"{name} is busy: try again later.{said}",
                upstream_status=status,
                retry_after_s=problem.retry_after_s,
            )
        case _:
            return error_by_status(
                answer,
                name,
                status=status,
                said=said,
                param=problem.param,
                address_setting=ADDRESS_SETTING,
            )


def _status(code: Any, answer: Answer) -> int:
    """The status of the answer, or the one in its body when a gateway says that all is well."""
    is_hidden = answer.is_success and isinstance(code, int) and code >= 400
    return code if is_hidden else answer.status


def _retry_after_s(details: list[Any], answer: Answer) -> float | None:
    for each in details:
        match = SECONDS.fullmatch(text_of(each, "retryDelay"))
        if match:
            return float(match[1])
    return answer.retry_after_s


def _no_model(name: str, model: Model) -> str:
    retired = f" (switched off on {model.retired_on})" if model.retired_on else ""
    return (
        f"{name} has no model {model.id!r}{retired}, or not in this form: choose one it has, for"
        f" example with {MODEL_SETTING}, or correct {METHOD_SETTING} or the version in"
        f" {ADDRESS_SETTING}."
    )
