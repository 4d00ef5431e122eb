"""What a server that speaks Google's API means by an answer that is no success."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from darkroom.domain import Model
from darkroom.errors import (
    ContentRefused,
    EngineBusy,
    EngineError,
    EngineFailed,
    Misconfigured,
    ModelNotOffered,
    OutcomeUnknown,
    QuotaExhausted,
    RequestRejected,
)
from engines.answers import Answer
from engines.scrubbing import Scrubber

KEY_SETTING = "DARKROOM_IMAGES_GEMINI_API_KEY"
ADDRESS_SETTING = "DARKROOM_IMAGES_GEMINI_API_BASE_URL"
METHOD_SETTING = "DARKROOM_IMAGES_GEMINI_ENDPOINT_METHOD"
MODEL_SETTING = "DARKROOM_IMAGE_GENERATION_MODEL"

#: A protobuf duration in JSON: `38s`, `38.2s`.
DURATION = re.compile(r"(\d+(?:\.\d+)?)s")


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """Google's error object."""

    message: str = ""
    #: `RESOURCE_EXHAUSTED` and its like.
    status: str = ""
    #: Every `reason` among the details.
    reasons: frozenset[str] = frozenset()
    quotas: tuple[str, ...] = ()
    retry_after_s: float | None = None
    fields: tuple[str, ...] = field(default=())

    @classmethod
    def read(cls, answer: Answer) -> Self:
        content = answer.json()
        if isinstance(content, list) and content:
            # Gateways and streams wrap it.
            content = content[0]
        error = content.get("error") if isinstance(content, dict) else None
        if isinstance(error, str):
            return cls(message=error)
        if not isinstance(error, dict):
            return cls()
        details = [each for each in _items(error.get("details")) if isinstance(each, dict)]
        return cls(
            message=str(error.get("message") or ""),
            status=str(error.get("status") or ""),
            reasons=frozenset(str(each["reason"]) for each in details if "reason" in each),
            quotas=tuple(
                str(violation.get("quotaId") or "")
                for each in details
                for violation in _items(each.get("violations"))
                if isinstance(violation, dict)
            ),
            retry_after_s=next(
                (wait for each in details if (wait := _seconds(each.get("retryDelay")))), None
            ),
            fields=tuple(
                str(violation["field"])
                for each in details
                for violation in _items(each.get("fieldViolations"))
                if isinstance(violation, dict) and violation.get("field")
            ),
        )


def error_for(answer: Answer, *, engine: str, model: Model | None, scrub: Scrubber) -> EngineError:
    """The error that `answer` stands for, with the next step in its words."""
    problem = _Problem.read(answer)
    error = _error(answer, problem, f"Engine {engine!r}", model, scrub)
    return error.traced(
        code=scrub(problem.status) or None, request_id=answer.headers.get("x-goog-request-id")
    )


def _error(
    answer: Answer, problem: _Problem, name: str, model: Model | None, scrub: Scrubber
) -> EngineError:
    said = f' It said: "{scrub(problem.message)}"' if problem.message else ""
    status = answer.status
    if status in {401, 403} or "API_KEY_INVALID" in problem.reasons:
        return Misconfigured(
            f"{name} does not accept its key, or the key may not do this: correct"
            f" {KEY_SETTING}.{said}",
            upstream_status=status,
        )
    if status == 402 or (status == 429 and any("PerDay" in each for each in problem.quotas)):
        # A short delay that comes with a spent day means nothing.
        return QuotaExhausted(
            f"The account of {name.lower()} has no money or quota left: top it up, or raise its"
            f" limit.{said}",
            upstream_status=status,
        )
    if problem.status == "FAILED_PRECONDITION":
        return Misconfigured(
            f"{name} does not let this account draw: look at its billing, its region and what it is"
            f" allowed.{said}",
            upstream_status=status,
        )
    match status:
        case 404:
            if problem.message:
                which = "a model" if model is None else f"the model {model.id!r}"
                return ModelNotOffered(
                    f"{name} lacks {which}, or does not draw with it this way: choose another with"
                    f" {MODEL_SETTING}, or correct {METHOD_SETTING} or the version in"
                    f" {ADDRESS_SETTING}.{said}",
                    upstream_status=status,
                )
            return Misconfigured(
                f"{name} does not make pictures at its address: correct {ADDRESS_SETTING}.",
                upstream_status=status,
            )
        case 429 | 503:
            return EngineBusy(
                f"{name} is busy: try again later.{said}",
                upstream_status=status,
                retry_after_s=problem.retry_after_s or answer.retry_after_s,
            )
        case _ if status == 408 or status >= 499:
            return OutcomeUnknown(
                f"{name} failed with status {status}. The picture may have been drawn, and charged;"
                f" ask again only if that is acceptable.{said}",
                upstream_status=status,
            )
        case _ if status >= 400:
            return RequestRejected(
                f"{name} refused the request (status {status}): change it.{said}",
                upstream_status=status,
                param=problem.fields[0] if problem.fields else None,
            )
        case _ if status >= 300:
            return Misconfigured(
                f"{name} redirects to another address: set {ADDRESS_SETTING} to that one.",
                upstream_status=status,
            )
        case _ if answer.is_web_page:
            return Misconfigured(
                f"{name} answered with a web page: correct {ADDRESS_SETTING}.",
                upstream_status=status,
            )
        case _:
            return EngineFailed(
                f"{name} answered with something that is no picture.{said}", upstream_status=status
            )


def refused(name: str, reason: str, words: str = "") -> ContentRefused:
    """The prompt or the picture was filtered; `reason` is the vendor's word for it."""
    said = f' It said: "{words}"' if words else ""
    return ContentRefused(
        f"{name} refused the prompt or its result for their content ({reason}): change the"
        f" prompt.{said}"
    ).traced(code=reason)


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value


def _seconds(text: Any) -> float | None:
    match = DURATION.fullmatch(text) if isinstance(text, str) else None
    with suppress(ValueError):
        return float(match[1]) if match else None
    return None
