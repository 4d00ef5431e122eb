"""OpenAI's dialect: failures in its envelope, and whether the SDK is to try again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from api.openai.envelope import KINDS, WORDINGS
from darkroom.errors import EngineError, Unavailable
from darkroom.settings import Settings
from storage import Storage
from tests.api.conftest import Answer, Caller, InlineQueue


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(
        settings,
        builtin_script=True,
        max_body_mb=1,
        max_queued_per_user=1,
    )


def ask(caller: Caller, prompt: str = "a lighthouse", **body: Any) -> Answer:
    return caller.post("/v1/images/generations", json={"prompt": prompt, "size": "64x64"} | body)


@pytest.mark.parametrize(
    ("fault", "status", "kind", "code"),
    [
        ("EngineBusy", 429, "requests", "rate_limit_exceeded"),
        ("EngineUnreachable", 502, "server_error", "engine_unreachable"),
        ("RequestRejected", 400, "invalid_request_error", "invalid_value"),
        ("ContentRefused", 400, "image_generation_user_error", "content_policy_violation"),
        ("Misconfigured", 500, "server_error", "engine_misconfigured"),
        ("ModelNotOffered", 404, "invalid_request_error", "model_not_found"),
        ("QuotaExhausted", 429, "insufficient_quota", "insufficient_quota"),
        ("EngineFailed", 500, "server_error", "server_error"),
        ("InvalidPicture", 502, "server_error", "picture_invalid"),
        ("OutcomeUnknown", 502, "server_error", "outcome_unknown"),
    ],
)
def test_a_failed_job_is_told_and_not_to_be_repeated(
    anna: Caller, fault: str, status: int, kind: str, code: str
) -> None:
    answer = ask(anna, f"[fault={fault}]")

    error = answer.json["error"]
    assert (answer.status_code, error["type"], error["code"]) == (status, kind, code)
    assert set(error) == {"message", "type", "param", "code"}
    # The SDK repeats 429 and 5xx by itself.
    assert answer.headers.get("x-should-retry") == ("false" if status in {429, 500, 502} else None)
    assert answer.headers["Darkroom-Job"]
    assert answer.headers["x-request-id"]


def test_every_error_of_an_engine_has_a_wording() -> None:
    assert EngineError in WORDINGS
    assert len(KINDS) >= 12


def test_a_canceled_job_is_a_conflict_not_to_be_repeated(anna: Caller, queue: InlineQueue) -> None:
    queue.is_held = True
    headers = {"Idempotency-Key": "k"}
    body = {"prompt": "a lighthouse"}
    late = anna.post("/v1/images/generations", json=body, headers=headers)
    anna.post(f"/api/v1/jobs/{late.headers['Darkroom-Job']}/cancel")

    answer = anna.post("/v1/images/generations", json=body, headers=headers)

    assert answer.status_code == 409
    assert answer.json["error"]["code"] == "canceled"
    assert answer.headers["x-should-retry"] == "false"


def test_a_full_queue_is_a_rate_limit_that_ends(anna: Caller, queue: InlineQueue) -> None:
    queue.is_held = True
    ask(anna)

    answer = ask(anna, "another")

    assert answer.status_code == 429
    assert answer.json["error"]["code"] == "rate_limit_exceeded"
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["x-should-retry"] == "true"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("POST", "/v1/chat/completions", 404, "unknown_url"),
        ("GET", "/openai/deployments/x/nothing", 404, "unknown_url"),
        ("GET", "/v1/images/generations", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_served_is_told_in_the_envelope(
    anna: Caller, method: str, path: str, status: int, code: str
) -> None:
    answer = anna.get(path) if method == "GET" else anna.post(path, json={})

    assert answer.status_code == status
    assert answer.content_type == "application/json"
    assert answer.json["error"]["code"] == code


def test_other_paths_keep_their_problem_documents(anna: Caller) -> None:
    answer = anna.get("/api/v1/nothing")

    assert answer.content_type == "application/problem+json"


def test_bodies_that_cannot_be_read(anna: Caller) -> None:
    path = "/v1/images/generations"
    broken = anna.post(path, data="{", content_type="application/json")
    plain = anna.post(path, data="x", content_type="text/plain")
    no_object = anna.post(path, json=["x"])
    empty = anna.post(path, data="", content_type="application/json")
    large = ask(anna, "x" * 1_100_000)

    found = [
        (each.status_code, each.json["error"]["code"])
        for each in (broken, plain, no_object, empty, large)
    ]
    assert found == [
        (400, "invalid_value"),
        (415, "unsupported_content_type"),
        (400, "invalid_value"),
        (400, "missing_required_parameter"),
        (413, "body_too_large"),
    ]


@pytest.mark.parametrize("rest", ["", '; filename="a.png"'])
def test_a_part_of_a_form_without_a_name_is_refused(anna: Caller, rest: str) -> None:
    part = f"--x\r\nContent-Disposition: form-data{rest}\r\n\r\nword\r\n--x--\r\n"

    answer = anna.post(
        "/v1/images/edits", data=part, content_type="multipart/form-data; boundary=x"
    )

    assert answer.status_code == 400
    assert answer.json["error"]["message"] == "A part of the form has no name."


def test_a_database_that_is_away_is_worth_another_try(
    app: Flask, anna: Caller, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("The database is out of reach.")

    monkeypatch.setattr(storage.jobs, "submit", away)
    answer = ask(anna)

    assert answer.status_code == 503
    assert answer.json["error"]["code"] == "server_is_overloaded"
    assert answer.headers["x-should-retry"] == "true"
    assert 0 < int(answer.headers["Retry-After"]) <= 60


def test_a_reused_key_is_refused(anna: Caller, sign_in: Callable[..., Caller]) -> None:
    headers = {"Idempotency-Key": "k"}
    anna.post("/v1/images/generations", json={"prompt": "a"}, headers=headers)

    other = anna.post("/v1/images/generations", json={"prompt": "b"}, headers=headers)
    bert = sign_in("bert@example.org")
    his = bert.post("/v1/images/generations", json={"prompt": "b"}, headers=headers)

    assert other.status_code == 422
    assert other.json["error"]["code"] == "idempotency_conflict"
    assert his.status_code == 200
