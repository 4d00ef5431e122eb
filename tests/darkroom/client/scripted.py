"""A server that answers as a test says, and counts its calls."""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.engines.servers.stand_in import Call, Handler, StandIn

PROBLEM = "application/problem+json"


@dataclass
class Answer:
    """One answer; without a status the connection is reset instead."""

    status: int | None = 200
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    #: Whether the answer breaks off half way.
    cut: bool = False


class Scripted(StandIn):
    """Gives its answers in order; the last one again and again."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.answers: deque[Answer] = deque([Answer(content=[])])

    def will(self, *answers: Answer) -> None:
        self.answers = deque(answers)


class _Handler(Handler):
    def answer(self, call: Call) -> None:
        assert isinstance(self.stand_in, Scripted)
        answers = self.stand_in.answers
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        if answer.status is None:
            self.hang_up()
            return
        content = answer.content
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.reply(answer.status, data, answer.kind, answer.headers, cut=answer.cut)


def a_job(**fields: Any) -> dict[str, Any]:
    return {
        "id": "41d2",
        "status": "queued",
        "operation": "generate",
        "engine": "builtin",
        "model": "placeholder",
        "prompt": "a ship",
        "images": [],
        "revision": 1,
        **fields,
    }


def a_problem(status: int, code: str, **members: Any) -> Answer:
    headers = members.pop("headers", {})
    return Answer(
        status=status,
        content={"status": status, "code": code, "detail": "It did not work.", **members},
        kind=PROBLEM,
        headers=headers,
    )


def events(*jobs: dict[str, Any]) -> Answer:
    """An answer with a job's events."""
    text = "".join(
        f"id: {each['revision']}\nevent: job\ndata: {json.dumps(each)}\n\n" for each in jobs
    )
    return Answer(content=f": ping\n\n{text}".encode(), kind="text/event-stream")
