"""What an OpenAI-style server means by an answer that holds no pictures.

The codes are OpenAI's and Azure's; compatible servers often give nothing but a status.
"""

import re
from dataclasses import dataclass
from typing import Self

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

#: Money is gone. Some of these come as 429 or 400, but waiting does not help.
QUOTA = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
    }
)
REFUSED = frozenset(
    {
        "content_policy_violation",
        "image_content_policy_violation",
        "moderation_blocked",
        "content_filter",
        "contentfilter",
    }
)
NO_MODEL = frozenset({"model_not_found", "deploymentnotfound"})
#: The images endpoints say it in words only.
NO_MODEL_WORDS = re.compile(r"\bmodel\b.*\bdoes not exist\b", re.IGNORECASE | re.DOTALL)
#: Some models are only for organizations that proved who they are; this has no code either.
UNVERIFIED_WORDS = re.compile(r"\borganization\b.*\bverified\b", re.IGNORECASE | re.DOTALL)

KEY_SETTING = "DARKROOM_IMAGES_OPENAI_API_KEY"
ADDRESS_SETTING = "DARKROOM_IMAGES_OPENAI_API_BASE_URL"
MODEL_SETTING = "DARKROOM_IMAGE_GENERATION_MODEL"


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """The error of an answer, in whatever form it came."""

    message: str = ""
    #: `code` and `type`, in lower case.
    words: frozenset[str] = frozenset()
    param: str | None = None

    @classmethod
    def read(cls, answer: Answer) -> Self:
        content = answer.json()
        error = content.get("error", content) if isinstance(content, dict) else None
        if isinstance(error, str):
            return cls(message=error)
        if not isinstance(error, dict):
            return cls()
        message = error.get("message") or error.get("detail")
        param = error.get("param")
        return cls(
            message=message if isinstance(message, str) else "",
            words=frozenset(str(error.get(key) or "").lower() for key in ("code", "type")),
            param=param if isinstance(param, str) else None,
        )


def error_for(answer: Answer, *, engine: str, model: Model | None, scrub: Scrubber) -> EngineError:
    """The error that `answer` stands for, with the next step in its words."""
    problem = _Problem.read(answer)
    said = f' It said: "{scrub(problem.message)}"' if problem.message else ""
    name, status = f"Engine {engine!r}", answer.status

    if problem.words & QUOTA or status == 402:
        return QuotaExhausted(
            f"The account of engine {engine!r} has no money or quota left: top it up, or raise its"
            f" limit.{said}",
            upstream_status=status,
        )
    if problem.words & REFUSED:
        return ContentRefused(
            f"{name} refused the prompt or its result for their content: change the prompt.{said}",
            upstream_status=status,
        )
    if problem.words & NO_MODEL or (
        status in {400, 404} and NO_MODEL_WORDS.search(problem.message)
    ):
        return ModelNotOffered(_no_model(name, model) + said, upstream_status=status)
    if status == 403 and UNVERIFIED_WORDS.search(problem.message):
        return ModelNotOffered(_unverified(name, model) + said, upstream_status=status)
    return _by_status(answer, name, said, problem.param)


def _by_status(answer: Answer, name: str, said: str, param: str | None) -> EngineError:
    status = answer.status
    match status:
        case 401:
            return Misconfigured(
                f"{name} does not accept its key: correct {KEY_SETTING}.{said}",
                upstream_status=status,
            )
        case 403:
            return Misconfigured(
                f"{name} does not let this account draw: use another key or model.{said}",
                upstream_status=status,
            )
        case 404 | 405:
            return Misconfigured(
                f"{name} does not make pictures at its address: correct {ADDRESS_SETTING}.{said}",
                upstream_status=status,
            )
        case 409 | 429 | 503:
            return EngineBusy(
                f"{name} is busy: try again later.{said}",
                upstream_status=status,
                retry_after_s=answer.retry_after_s,
            )
        case _ if status == 408 or status >= 500:
            return OutcomeUnknown(
                f"{name} failed with status {status}. The pictures may have been drawn, and"
                f" charged; ask again only if that is acceptable.{said}",
                upstream_status=status,
            )
        case _ if status >= 400:
            return RequestRejected(
                f"{name} refused the request (status {status}): change it.{said}",
                upstream_status=status,
                param=param,
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
            return EngineFailed(f"{name} answered without pictures.{said}", upstream_status=status)


def _no_model(name: str, model: Model | None) -> str:
    if model is None:
        return f"{name} lacks a model."
    retired = f" (switched off on {model.retired_on})" if model.retired_on else ""
    return (
        f"{name} has no model {model.id!r}{retired}: choose one it has, for example with"
        f" {MODEL_SETTING}."
    )


def _unverified(name: str, model: Model | None) -> str:
    which = "this model" if model is None else f"model {model.id!r}"
    return (
        f"{name} gives {which} to verified organizations only: verify yours and wait 15 minutes, or"
        " choose another model."
    )
