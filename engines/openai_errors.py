"""What an OpenAI-style server means by an answer that holds no pictures.

The codes are OpenAI's and Azure's; compatible servers often give nothing but a status.
"""

import re
from dataclasses import dataclass
from typing import Any, Self

from darkroom.domain import Model, Operation
from darkroom.errors import (
    ContentRefused,
    EngineBusy,
    EngineError,
    Misconfigured,
    ModelNotOffered,
    OutcomeUnknown,
    QuotaExhausted,
    RequestRejected,
)
from engines.answers import Answer
from engines.calls import error_by_status
from engines.events import Event
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
#: A picture to change that cannot be used.
BAD_PICTURE = frozenset(
    {
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
        "image_file_too_large",
        "image_parse_error",
        "image_too_large",
        "image_too_small",
        "unsupported_file_mimetype",
        "unsupported_image_media_type",
    }
)
#: All codes of a picture that is none, such as `invalid_image_format` and `invalid_base64_image`.
BAD_PICTURE_CODE = re.compile(r"invalid_(?:\w+_)?image")
#: Nothing was drawn, and waiting helps.
BUSY = frozenset({"rate_limit_exceeded", "slow_down", "server_is_overloaded"})
#: Some refusals come without a code.
REFUSED_WORDS = re.compile(r"safety_violations=|\bsafety system\b", re.IGNORECASE)
#: The images endpoints say it in words only.
NO_MODEL_WORDS = re.compile(r"\bmodel\b.*\bdoes not exist\b", re.IGNORECASE | re.DOTALL)
#: Some models are only for organizations that proved who they are; this has no code either.
UNVERIFIED_WORDS = re.compile(r"\borganization\b.*\bverified\b", re.IGNORECASE | re.DOTALL)

KEY_SETTING = "DARKROOM_IMAGES_OPENAI_API_KEY"
ADDRESS_SETTING = "DARKROOM_IMAGES_OPENAI_API_BASE_URL"
EDIT_ADDRESS_SETTING = "DARKROOM_IMAGES_EDIT_OPENAI_API_BASE_URL"
MODEL_SETTING = "DARKROOM_IMAGE_GENERATION_MODEL"

#: Codes and request ids are single words; what is longer is something else.
LONGEST_TRACE = 100


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """The error of an answer, in whatever form it came."""

    message: str = ""
    code: str = ""
    type: str = ""
    param: str | None = None

    @classmethod
    def read(cls, content: Any) -> Self:
        error = content.get("error", content) if isinstance(content, dict) else None
        if isinstance(error, str):
            return cls(message=error)
        if not isinstance(error, dict):
            return cls()
        message = error.get("message") or error.get("detail")
        param = error.get("param")
        return cls(
            message=message if isinstance(message, str) else "",
            code=str(error.get("code") or ""),
            type=str(error.get("type") or ""),
            param=param if isinstance(param, str) else None,
        )

    @property
    def words(self) -> set[str]:
        """Both, in lower case."""
        return {self.code.lower(), self.type.lower()}

    def said(self, scrub: Scrubber) -> str:
        """Its own words, to be added to ours."""
        return f' It said: "{scrub(self.message)}"' if self.message else ""


def error_for(
    answer: Answer,
    *,
    engine: str,
    model: Model | None,
    scrub: Scrubber,
    operation: Operation = Operation.GENERATE,
) -> EngineError:
    """The error that `answer` stands for, with the next step in its words."""
    problem = _Problem.read(answer.json())
    said, name, status = problem.said(scrub), f"Engine {engine!r}", answer.status
    error = _by_words(problem, engine, said, model, status)
    if error is None and operation is Operation.EDIT and status in {404, 405}:
        # It may generate all the same, so this must not count against the whole engine.
        error = ModelNotOffered(
            f"{name} has no edits at its address: choose another engine for edits, or correct"
            f" {EDIT_ADDRESS_SETTING}.{said}",
            upstream_status=status,
        )
    return _traced(error or _by_status(answer, name, said, problem.param), answer, problem, scrub)


def error_in_stream(
    event: Event | None,
    head: Answer,
    *,
    engine: str,
    model: Model | None,
    scrub: Scrubber,
    is_begun: bool,
) -> EngineError:
    """The error for a stream that broke off with `event`, or without a word.

    `head` is how it began; `is_begun` says whether unfinished pictures came.
    """
    problem = _Problem() if event is None else _Problem.read(event.json())
    said, name = problem.said(scrub), f"Engine {engine!r}"
    error = _by_words(problem, engine, said, model, None)
    if error is None and problem.words & BUSY and not is_begun:
        error = EngineBusy(f"{name} is busy: try again later.{said}")
    if error is None:
        error = OutcomeUnknown(
            f"{name} broke off before its picture was done. It may be charged; ask again only if"
            f" that is acceptable.{said}"
        )
    return _traced(error, head, problem, scrub)


def _by_words(
    problem: _Problem, engine: str, said: str, model: Model | None, status: int | None
) -> EngineError | None:
    name = f"Engine {engine!r}"
    if problem.words & QUOTA or status == 402:
        return QuotaExhausted(
            f"The account of engine {engine!r} has no money or quota left: top it up, or raise its"
            f" limit.{said}",
            upstream_status=status,
        )
    if problem.words & REFUSED or (status in {None, 400} and REFUSED_WORDS.search(problem.message)):
        return ContentRefused(
            f"{name} refused the prompt or its result for their content: change the prompt.{said}",
            upstream_status=status,
        )
    if problem.words & NO_MODEL or (
        status in {None, 400, 404} and NO_MODEL_WORDS.search(problem.message)
    ):
        return ModelNotOffered(_no_model(name, model) + said, upstream_status=status)
    if status == 403 and UNVERIFIED_WORDS.search(problem.message):
        return ModelNotOffered(_unverified(name, model) + said, upstream_status=status)
    if problem.words & BAD_PICTURE or BAD_PICTURE_CODE.match(problem.code):
        return RequestRejected(
            f"{name} cannot use a picture it was sent: send a sound PNG, JPEG or WebP, not larger"
            f" than its model takes.{said}",
            upstream_status=status,
            param=problem.param or "image",
        )
    return None


def _traced(error: EngineError, answer: Answer, problem: _Problem, scrub: Scrubber) -> EngineError:
    code = problem.code or problem.type
    request_id = answer.headers.get("x-request-id") or answer.headers.get("apim-request-id") or ""
    return error.traced(
        code=scrub(code)[:LONGEST_TRACE] or None,
        request_id=scrub(request_id)[:LONGEST_TRACE] or None,
    )


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
        case _:
            return error_by_status(
                answer,
                name,
                status=status,
                said=said,
                param=param,
                address_setting=ADDRESS_SETTING,
            )


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
