"""What is wrong with a request is named by field, and nothing of it is accepted."""

import io
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask_jwt_extended import create_access_token

from darkroom.domain import Role
from darkroom.settings import Settings
from tests.api.conftest import Caller, InlineQueue

GENERATIONS = "/api/images/generations"


@pytest.fixture(autouse=True)
def nothing_is_accepted(queue: InlineQueue) -> Any:
    yield
    assert queue.sent == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", ""),
        ("prompt", " \n "),
        ("prompt", 5),
        ("prompt", "x" * 32_001),
        ("prompt", "nul \0 character"),
        ("prompt", ["a"]),
        ("model", 5),
        ("model", ""),
        ("model", "x" * 201),
        ("engine", "nothing-like-it"),
        ("size", "12x"),
        ("size", "99999x99999"),
        ("size", "0x64"),
        ("size", "64X64"),
        ("size", " 64x64"),
        ("size", "٦٤x٦٤"),
        ("size", 64),
        ("n", 0),
        ("n", -1),
        ("n", 10000),
        ("n", 1.5),
        ("n", "2"),
        ("n", True),
        ("steps", 0),
        ("steps", 100_000),
        ("seed", -1),
        ("seed", 2**53),
        ("negative_prompt", 5),
        ("negative_prompt", "x" * 32_001),
        ("output_format", "bmp"),
        ("background", "blue"),
        ("quality", "x" * 33),
        ("strict", "yes"),
        ("metadata", "text"),
        ("metadata", {"big": "x" * 16_384}),
        ("unheard_of", 1),
    ],
)
def test_a_field_at_fault_is_named(anna: Caller, field: str, value: object) -> None:
    answer = anna.post(GENERATIONS, json={"prompt": "a lighthouse"} | {field: value})

    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    assert answer.json["param"] == field
    assert field in answer.json["detail"]
    assert answer.json["request_id"] == answer.headers["X-Request-ID"]


def test_a_faulty_link_in_the_metadata_is_named(anna: Caller) -> None:
    assert anna.generate(metadata={"chat_id": 5}).json["param"] == "metadata.chat_id"


def test_every_field_at_fault_is_listed(anna: Caller) -> None:
    answer = anna.generate(n=0, size="12x", stepz=3)

    assert {each["param"] for each in answer.json["errors"]} == {"n", "size", "stepz"}


def test_a_prompt_of_ten_megabytes_is_refused_by_name(anna: Caller) -> None:
    answer = anna.generate(prompt="x" * 10_000_000)

    assert (answer.status_code, answer.json["param"]) == (400, "prompt")


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b'{"prompt": NaN}', b"[" * 100_000, b'"text"', b"[1]", b"null"]
)
def test_a_body_that_is_no_json_object_is_refused(anna: Caller, body: bytes) -> None:
    answer = anna.post(GENERATIONS, data=body, content_type="application/json")

    assert (answer.status_code, answer.json["param"]) == (400, "body")


def test_an_empty_body_lacks_the_prompt(anna: Caller) -> None:
    assert anna.post(GENERATIONS).json["param"] == "prompt"


def test_another_content_type_is_refused(anna: Caller) -> None:
    answer = anna.post(GENERATIONS, data="prompt=a", content_type="text/plain")

    assert (answer.status_code, answer.json["code"]) == (415, "media_type_unsupported")
    assert answer.json["param"] == "Content-Type"


def test_a_body_over_the_limit_is_refused(
    anna: Caller, make_app: Callable[[Settings], Flask], settings: Settings
) -> None:
    anna.client = make_app(replace(settings, max_body_mb=1)).test_client()

    answer = anna.generate(prompt="x" * 2_000_000)

    assert (answer.status_code, answer.json["code"]) == (413, "body_too_large")
    assert answer.json["param"] == "body"


def test_a_body_in_pieces_over_the_limit_is_refused(
    anna: Caller, make_app: Callable[[Settings], Flask], settings: Settings
) -> None:
    anna.client = make_app(replace(settings, max_body_mb=1)).test_client()
    body = io.BytesIO(b'{"prompt": "' + b"x" * 2_000_000 + b'"}')

    answer = anna.post(
        GENERATIONS,
        input_stream=body,
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        # As gunicorn says of such a body.
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert (answer.status_code, answer.json["code"]) == (413, "body_too_large")


def test_an_unknown_query_parameter_is_named(anna: Caller) -> None:
    answer = anna.get("/api/v1/files/?chatid=1")

    assert (answer.status_code, answer.json["param"]) == (400, "chatid")


def test_an_idempotency_key_has_a_length(anna: Caller) -> None:
    answer = anna.generate(headers={"Idempotency-Key": "x" * 256})

    assert (answer.status_code, answer.json["param"]) == (400, "Idempotency-Key")


class TestWhoMayAsk:
    @pytest.mark.parametrize(
        "header",
        ["", "Bearer", "Basic YTpi", "Bearer nonsense", "Bearer dk_nonsense", "Bearer a.b.c"],
    )
    def test_without_a_valid_token_the_answer_is_401(self, anna: Caller, header: str) -> None:
        answer = anna.generate(headers={"Authorization": header})

        assert (answer.status_code, answer.json["code"]) == (401, "not_signed_in")
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_an_expired_token_is_told_from_a_wrong_one(self, anna: Caller, app: Flask) -> None:
        with app.test_request_context():
            old = create_access_token(anna.user.id, additional_claims={"exp": int(time.time()) - 1})

        answer = anna.generate(headers={"Authorization": f"Bearer {old}"})

        assert answer.status_code == 401
        assert "expired" in answer.json["detail"]

    def test_without_the_permission_the_answer_is_403(self, sign_in: Callable[..., Caller]) -> None:
        answer = sign_in("bo@example.org", permissions=()).generate()

        assert (answer.status_code, answer.json["code"]) == (403, "permission_denied")
        assert "features.image_generation" in answer.json["detail"]

    def test_an_inactive_account_is_signed_out_at_once(self, anna: Caller, admin: Caller) -> None:
        admin.patch(f"/api/v1/users/{anna.user.id}", json={"active": False})

        assert anna.generate().status_code == 401

    def test_a_service_that_is_switched_off_answers_403_even_to_admins(self, admin: Caller) -> None:
        admin.post("/api/images/config/update", json={"ENABLE_IMAGE_GENERATION": False})

        answer = admin.generate()

        assert (answer.status_code, answer.json["code"]) == (403, "disabled")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/api/images/config"),
            ("POST", "/api/images/config/update"),
            ("POST", "/api/images/verify"),
            ("GET", "/api/v1/users/"),
            ("GET", "/api/v1/jobs/?all=true"),
            ("GET", "/api/v1/files/?all=true"),
        ],
    )
    def test_what_is_for_admins_is_403_for_others(
        self, anna: Caller, method: str, path: str
    ) -> None:
        answer = anna.client.open(path, method=method, headers=anna.headers)

        assert answer.status_code == 403


def test_an_unknown_path_and_a_wrong_method_are_problems_too(anna: Caller) -> None:
    assert anna.get("/api/nowhere").json["code"] == "not_found"
    answer = anna.get(GENERATIONS)
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["Allow"]


def test_admins_need_no_permission(sign_in: Callable[..., Caller], queue: InlineQueue) -> None:
    assert sign_in("root@example.org", Role.ADMIN, ()).generate().status_code == 200
    queue.sent.clear()
