"""What the OpenAPI document promises is what the service does, whoever asks and whatever for.

schemathesis makes the calls from the document alone: its examples, the limits of every field and
one step beyond, random ones, and chains in which one answer's ids are asked for next.
"""

import errno
import io
import os
import socket
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never
from urllib.parse import parse_qs, urlsplit

import pytest
import schemathesis
from flask import Flask
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import RecordedScenario
from sqlalchemy import delete, null, update

from api.services import EXTENSION
from darkroom.domain import NO_LIMITS, NamedRole, Role
from darkroom.settings import Settings
from storage import Storage
from storage.tables import revoked_tokens, users
from tests.api.conftest import Caller, InlineQueue
from tests.backends.choice import places

pytestmark = pytest.mark.timeout(900)

PASSWORD = "correct horse"

#: What random values never hit, by where it is sent. A share of the calls takes one of these.
HITS: dict[str, list[str]] = {
    "header.Prefer": ["respond-async", "wait=1", "wait=soon"],
    "query.engine": ["builtin", "all"],
    "path.model": ["builtin/placeholder"],
    "path.deployment": ["placeholder"],
    "body.engine": ["builtin"],
    "body.model": ["builtin/placeholder"],
    "body.size": ["auto", "64x64", "96x64"],
    "body.items[*].prompt": ["a lighthouse"],
    "body.password": [PASSWORD],
    "path.name": ["guest"],
    "body.role": ["admin"],
}
SHARE = 0.6

#: One line of a file that is a batch to OpenAI's dialect.
LINE = (
    b'{"custom_id": "fox", "method": "POST", "url": "/v1/images/generations",'
    b' "body": {"model": "builtin/placeholder", "prompt": "a fox", "size": "64x64"}}'
)

#: What no call from the document alone can bring about.
NEVER_SUCCEEDS = {
    # No job runs for long.
    "GET /api/v1/jobs/{job_id}/preview",
    # No random bytes are a picture.
    "POST /v1/images/edits",
    "POST /v1/images/variations",
    "POST /openai/deployments/{deployment}/images/edits",
}


@pytest.fixture
def is_documented() -> bool:
    return True


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        redis_url="redis://unused",
        wait_s=2,
        max_count=2,
        enable_signup=True,
        requests_per_minute=100_000,
        sign_ins_per_account=100_000,
        sign_ins_per_address=100_000,
        **places(),
    )


@pytest.fixture(autouse=True)
def _unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a network: whatever is configured, nobody is reached."""

    def refuse(*_: object) -> Never:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@dataclass
class Answers:
    """What came of all the calls of one caller."""

    #: One example of each kind of broken promise, by operation, check and status.
    broken: dict[tuple[str, str, int], str] = field(default_factory=dict)
    #: The statuses that each operation was answered with.
    statuses: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def of(self, scenario: RecordedScenario) -> None:
        for case_id, interaction in scenario.interactions.items():
            case, response = scenario.cases[case_id].value, interaction.response
            assert response is not None, case
            operation = case.operation
            if case.method.lower() == operation.method.lower():
                self.statuses[operation.label].add(response.status_code)
            for check in scenario.checks.get(case_id, ()):
                if (info := check.failure_info) is not None:
                    kind = (operation.label, check.name, response.status_code)
                    self.broken.setdefault(kind, f"{info.failure.message}\n{info.code_sample}")

    def succeeded(self) -> set[str]:
        return {
            label
            for label, seen in self.statuses.items()
            if any(200 <= each < 300 for each in seen)
        }


def ask_everything(
    app: Flask,
    headers: dict[str, str],
    hits: dict[str, list[str]],
    tidy_up: Callable[[], None],
    *,
    at_random: bool,
) -> Answers:
    """Call every operation of the document in every way, and tidy up after each change.

    Each field's limits are always tried; random values and chains of calls only `at_random`.
    """
    config = {
        "seed": 1,
        "headers": headers,
        "auth": {"auto-signup": False},
        "generation": {"max-examples": 4, "deterministic": True, "no-shrink": True},
        "phases": {
            "examples": {"fill-missing": True},
            "fuzzing": {"enabled": at_random},
            "stateful": {"enabled": at_random, "generation": {"max-examples": 10}},
        },
        "dictionaries": {name: {"values": values} for name, values in hits.items()},
        "parameters": {name: {"dictionary": name, "probability": SHARE} for name in hits},
        "warnings": False,
        "checks": {
            # No schema says which engines are enabled, or which password holds.
            "positive_data_acceptance": {"enabled": False},
            # It does not know WSGI applications; the calls of nobody show the same.
            "ignored_auth": {"enabled": False},
        },
    }
    schema = schemathesis.openapi.from_wsgi(
        "/openapi.json", app, config=schemathesis.Config.from_dict(config)
    )
    schema.app = _read_to_the_end(app)

    @schema.hook
    def after_call(context: object, case: Any, response: Any) -> None:
        if case.method != "GET" and response.status_code < 300:
            tidy_up()

    answers = Answers()
    for event in from_schema(schema).execute():
        match event:
            case events.FatalError():
                raise event.exception
            case events.NonFatalError():
                raise AssertionError(f"{event.label}: {event.info.format()}") from event.value
            case events.ScenarioFinished():
                answers.of(event.recorder)
    return answers


@schemathesis.serializer("application/x-ndjson")
def _lines(context: object, text: object) -> bytes:
    """Lines are a string to the document, which is sent as it is."""
    return text if isinstance(text, bytes) else str(text).encode(errors="surrogatepass")


def _read_to_the_end(app: Flask) -> Any:
    """The application behind a server that closes what it has read, as this client does not."""

    def serve(environ: Any, start_response: Any) -> list[bytes]:
        answer = app(environ, start_response)
        with ExitStack() as held:
            if hasattr(answer, "close"):
                held.callback(answer.close)
            return [b"".join(answer)]

    return serve


@pytest.fixture
def ask(app: Flask, storage: Storage, queue: InlineQueue) -> Callable[..., Answers]:
    """Ask everything, of a service that has something to show."""
    storage.roles.put(NamedRole(name="guest", limits=NO_LIMITS))
    storage.config.update({"IMAGE_SIZE": "64x64", "IMAGE_EDIT_SIZE": "64x64"})
    configured = storage.config.values()

    def ask(caller: Caller, headers: dict[str, str], *, at_random: bool = False) -> Answers:
        picture = caller.generate().json[0]["id"]
        done = caller.get(f"/api/v1/files/{picture}").json["job_id"]
        queue.is_held = True
        ended = caller.generate(headers={"Prefer": "respond-async"}).json["id"]
        caller.post(f"/api/v1/jobs/{ended}/cancel")
        link = urlsplit(app.extensions[EXTENSION].links.path(picture))
        batch = caller.post("/api/v1/batches", json={"items": [{"prompt": "a harbour"}]}).json["id"]
        caller.post(f"/api/v1/batches/{batch}/cancel")
        queue.is_held = False
        lines = caller.post(
            "/v1/files",
            data={"purpose": "batch", "file": (io.BytesIO(LINE), "animals.jsonl")},
        ).json["id"]
        asked = caller.post(
            "/v1/batches",
            json={
                "input_file_id": lines,
                "endpoint": "/v1/images/generations",
                "completion_window": "24h",
            },
        ).json["id"]
        own = {
            "path.batch_id": [batch, asked],
            "path.file_id": [lines],
            "body.input_file_id": [lines],
            "path.job_id": [done, ended],
            "path.image_id": [picture],
            "path.key_id": [caller.post("/api/v1/auths/api_key").json["id"]],
            "path.user_id": [caller.user.id],
            **{f"query.{name}": values for name, values in parse_qs(link.query).items()},
            "body.image": [picture],
            "body.images[*].file_id": [picture],
            "body.email": [caller.user.email],
        }
        return ask_everything(app, headers, HITS | own, tidy_up, at_random=at_random)

    def tidy_up() -> None:
        # What one call configures must not decide what all others find.
        storage.config.update(configured)
        # Nor whether they are signed in, and what they may.
        with storage.database.writing() as connection:
            connection.execute(
                update(users).values(token_epoch=0, limits=null(), max_running=None, quotas=null())
            )
            connection.execute(delete(revoked_tokens))
        storage.roles.put(NamedRole(name="guest", limits=NO_LIMITS))
        storage.roles.put(NamedRole(name=Role.USER, limits=NO_LIMITS))
        # A batch that is followed must end, which takes a worker.
        for batch_id in storage.batches.unplanted():
            while storage.batches.plant(batch_id):
                pass
        while taken := storage.backlog.take("builtin", window=100):
            for job in taken:
                queue.send(job)

    return ask


@pytest.fixture
def bo(sign_in: Callable[..., Caller]) -> Caller:
    return sign_in("bo@example.org", password=PASSWORD)


def test_an_admin_is_answered_as_documented(
    sign_in: Callable[..., Caller], ask: Callable[..., Answers]
) -> None:
    admin = sign_in("admin@example.org", Role.ADMIN, password=PASSWORD)

    answers = ask(admin, admin.headers, at_random=True)

    assert answers.broken == {}, "\n".join(answers.broken.values())
    assert answers.statuses.keys() - answers.succeeded() <= NEVER_SUCCEEDS


def test_a_user_is_answered_as_documented(bo: Caller, ask: Callable[..., Answers]) -> None:
    answers = ask(bo, bo.headers)

    assert answers.broken == {}, "\n".join(answers.broken.values())
    assert "POST /api/images/config/update" not in answers.succeeded()


def test_who_is_not_signed_in_is_answered_as_documented(
    bo: Caller, ask: Callable[..., Answers]
) -> None:
    paths = bo.get("/openapi.json").json["paths"]
    for_all = {
        f"{method.upper()} {path}"
        for path, item in paths.items()
        for method, operation in item.items()
        if method != "parameters" and "security" not in operation
    }

    answers = ask(bo, {})

    assert answers.broken == {}, "\n".join(answers.broken.values())
    assert {"GET /health"} <= answers.succeeded() <= for_all
