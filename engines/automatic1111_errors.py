"""What an AUTOMATIC1111 or Forge server means by an answer that holds no pictures.

Three forms are in use: `{"error", "detail", "body", "errors"}` (Forge says `message` for `errors`),
a plain `{"detail": "…"}`, and a list of faulty fields. A mistake in the request often comes as 500,
so the words count before the status.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

from darkroom.errors import (
    EngineBusy,
    EngineError,
    EngineFailed,
    Misconfigured,
    ModelNotOffered,
    OutcomeUnknown,
    RequestRejected,
)
from engines.answers import Answer
from engines.scrubbing import Scrubber

ADDRESS_SETTING = "DARKROOM_AUTOMATIC1111_BASE_URL"
AUTH_SETTING = "DARKROOM_AUTOMATIC1111_API_AUTH"
PARAMS_SETTING = "DARKROOM_AUTOMATIC1111_PARAMS"

#: What the server's own exceptions say, the error each stands for, and the next step.
WORDS: tuple[tuple[re.Pattern[str], type[EngineError], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind, sentence)
    for pattern, kind, sentence in (
        (
            r"out ?of ?memory",
            EngineFailed,
            "ran out of memory: ask for smaller or fewer pictures, or free some.",
        ),
        (
            r"\bcuda\b|\bcudnn\b|NansException|tensor with NaNs",
            EngineFailed,
            "broke while it was drawing: when that goes on, restart it.",
        ),
        (
            r"\bmodel '.*' not found",
            ModelNotOffered,
            "lacks the checkpoint: choose one that it lists.",
        ),
        (
            r"changing settings is disabled",
            Misconfigured,
            "may not change its checkpoint: start it without --freeze-settings, or ask for its"
            " model 'default'.",
        ),
        (
            r"invalid image format",
            Misconfigured,
            "saves pictures in a form that it cannot send: set its samples_format to png.",
        ),
        (
            r"init image not found|invalid encoded image|requests? .*not allowed",
            RequestRejected,
            "cannot read a picture of the request: send another one.",
        ),
        (
            r"script '.*' not found|sampler not found|could not find (upscaler|checkpoint)",
            Misconfigured,
            f"lacks something that is asked of it with every picture: correct {PARAMS_SETTING}.",
        ),
        (
            # Sizes and steps of a request are never so small.
            r"kernel size can't be greater|number of steps must be",
            Misconfigured,
            f"cannot draw with the size or the steps in {PARAMS_SETTING}: correct them.",
        ),
    )
)

#: Exceptions that the same request brings about again.
LASTING = frozenset({"AssertionError", "IndexError", "KeyError", "ValueError", "ZeroDivisionError"})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The error of an answer, in whatever form it came."""

    #: The class of the server's exception, such as `OutOfMemoryError`.
    exception: str | None = None
    text: str = ""
    #: The field at fault, when one is named.
    field: str | None = None

    @classmethod
    def read(cls, answer: Answer) -> Self:
        content = answer.json()
        if not isinstance(content, dict):
            return cls()
        detail = content.get("detail")
        if isinstance(detail, list):
            return cls._of_fields(detail)
        texts = [detail, content.get("errors"), content.get("message")]
        exception = content.get("error")
        is_name = isinstance(exception, str) and re.fullmatch(r"\w{1,60}", exception)
        return cls(
            exception=exception if is_name else None,
            text=next((each for each in texts if isinstance(each, str) and each), ""),
        )

    @classmethod
    def _of_fields(cls, faults: list[Any]) -> Self:
        """Of several faulty fields the first is told."""
        for fault in faults:
            if isinstance(fault, dict) and isinstance(place := fault.get("loc"), list):
                names = [each for each in place[1:] if isinstance(each, str)]
                text = ".".join(names) + (": " if names else "") + str(fault.get("msg") or "")
                return cls(text=text, field=names[0] if names else None)
        return cls()


def error_for(
    answer: Answer, *, engine: str, scrub: Scrubber, params: Collection[str] = ()
) -> EngineError:
    """The error that `answer` stands for, with the next step in its words.

    `params` are the fields and settings that an admin put into every request.
    """
    problem = Problem.read(answer)
    said = f' It said: "{scrub(problem.text)}"' if problem.text else ""
    kind, sentence = _meaning(answer, problem, params)
    error = kind(f"Engine {engine!r} {sentence}{said}", upstream_status=answer.status)
    if isinstance(error, EngineBusy):
        error.retry_after_s = answer.retry_after_s
    if isinstance(error, RequestRejected):
        error.param = problem.field
    return error.traced(code=problem.exception)


def _meaning(
    answer: Answer, problem: Problem, params: Collection[str]
) -> tuple[type[EngineError], str]:
    if answer.status >= 400:
        words = f"{problem.exception} {problem.text}"
        for pattern, kind, sentence in WORDS:
            if pattern.search(words):
                return kind, sentence
        if problem.field in params or (
            problem.exception == "KeyError" and problem.text.strip("'\"") in params
        ):
            return (
                Misconfigured,
                f"refuses what is asked of it with every picture: correct {PARAMS_SETTING}.",
            )
        if problem.exception in LASTING:
            return RequestRejected, f"cannot draw this ({problem.exception}): change the request."
    return _by_status(answer)


def _by_status(answer: Answer) -> tuple[type[EngineError], str]:
    status = answer.status
    match status:
        case 401 | 403:
            return (
                Misconfigured,
                f"asks for another user and password: set {AUTH_SETTING} to `user:password`.",
            )
        case 404 | 405:
            return Misconfigured, f"has no API at its address: correct {ADDRESS_SETTING}."
        case 429 | 503:
            return EngineBusy, "is busy: try again later."
        case 408 | 502 | 504 | 524:
            return (
                OutcomeUnknown,
                f"is cut off by the gateway before it (status {status}), and may be drawing"
                " unheard: let the gateway wait for ten minutes.",
            )
        case 413:
            return RequestRejected, "takes no request so large: send a smaller picture."
        case _ if status >= 500 and answer.is_web_page:
            return OutcomeUnknown, f"is out of order (status {status}): try again later."
        case _ if status >= 500:
            return EngineFailed, "broke while it was drawing: its log says why."
        case _ if status >= 400:
            return RequestRejected, f"refused the request (status {status}): change it."
        case _ if status >= 300:
            return (
                Misconfigured,
                f"redirects to another address: set {ADDRESS_SETTING} to that one.",
            )
        case _ if answer.is_web_page:
            return Misconfigured, f"answered with a web page: correct {ADDRESS_SETTING}."
        case _:
            return EngineFailed, "answered without pictures."
