"""The free routes of an AUTOMATIC1111 server: what it has, what it is doing, and stop."""

import base64
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from darkroom.errors import (
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    OutcomeUnknown,
)
from engines.answers import Answer
from engines.automatic1111_address import API
from engines.automatic1111_errors import ADDRESS_SETTING, error_for
from engines.http import Http

CONNECT_TIMEOUT_S = 5.0
#: The longest a question may take. Python on the server may be busy loading a checkpoint.
QUESTION_TIMEOUT_S = 10.0

T = TypeVar("T", list[Any], dict[str, Any])


def wait_on() -> None:
    """Lets a call wait until its time is up."""


@dataclass(frozen=True, kw_only=True)
class Questions:
    """How long questions may take, and who may stop them."""

    #: On the monotonic clock.
    deadline: float
    keep_waiting: Callable[[], None] = wait_on

    @property
    def timeout_s(self) -> float:
        return min(self.deadline - time.monotonic(), QUESTION_TIMEOUT_S)


class Server:
    """One server, reached with one `user:password`, or none. Safe to use from several threads."""

    def __init__(self, engine: str, root: str, auth: str) -> None:
        self.engine = engine
        self.root = root
        signature = base64.b64encode(auth.encode()).decode()
        self.http = Http(
            engine,
            headers={"Authorization": f"Basic {signature}"} if auth else {},
            secrets=[auth, auth.partition(":")[2], signature],
        )

    def url(self, route: str) -> str:
        """Where a route of the API is."""
        return f"{self.root}{API}/{route}"

    def ask(self, route: str, kind: type[T], questions: Questions) -> T:
        """What a GET of `route` answers. Raises the EngineError that says why not."""
        answer = self._get(self.url(route), questions)
        content = answer.json()
        if answer.is_success and isinstance(content, kind):
            return content
        if answer.is_success and not answer.is_web_page:
            raise Misconfigured(
                f"Engine {self.engine!r} answers otherwise than AUTOMATIC1111 does: correct"
                f" {ADDRESS_SETTING}."
            )
        error = self.failure(answer, questions)
        if isinstance(error, EngineFailed | OutcomeUnknown):
            # Nothing was asked to be drawn.
            raise EngineUnreachable(
                f"Engine {self.engine!r} is out of order (status {answer.status}): try again"
                " later.",
                upstream_status=answer.status,
            )
        raise error

    def failure(
        self, answer: Answer, questions: Questions, *, params: Collection[str] = ()
    ) -> EngineError:
        """The error that `answer` stands for. Asks once more where that takes it."""
        error = error_for(answer, engine=self.engine, scrub=self.http.scrub, params=params)
        if answer.status == 404 and type(error) is Misconfigured and self._has_ui(questions):
            return Misconfigured(
                f"Engine {self.engine!r} runs without its API: start it with --api.",
                upstream_status=404,
            )
        return error

    def entries(self, route: str, questions: Questions) -> list[dict[str, Any]]:
        """The entries of a list; none where the server has no such list."""
        answer = self._get(self.url(route), questions)
        content = answer.json() if answer.is_success else None
        return [each for each in content or () if isinstance(each, dict)]

    def _has_ui(self, questions: Questions) -> bool:
        """Whether the web interface is there, at this address."""
        try:
            answer = self._get(f"{self.root}/internal/ping", questions)
        except EngineUnreachable:
            return False
        return answer.is_success and not answer.is_web_page

    def _get(self, url: str, questions: Questions) -> Answer:
        return self.http.call(
            "GET",
            url,
            timeout_s=questions.timeout_s,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            keep_waiting=questions.keep_waiting,
        )
