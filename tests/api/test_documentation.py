"""The API describes itself, and the description is true."""

import re
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask
from openapi_spec_validator import validate

from api.errors import STATUSES
from darkroom import errors
from tests.api.conftest import Caller


@pytest.fixture
def is_documented() -> bool:
    return True


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    return cast(dict[str, Any], app.test_client().get("/openapi.json").json)


def test_the_openapi_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_every_route_is_described(app: Flask, document: dict[str, Any]) -> None:
    undocumented = {"/openapi.json"}
    served = {
        (re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method in {"GET", "POST", "PATCH", "DELETE"}
        and rule.rule not in undocumented
        and not rule.rule.startswith("/docs")
    }

    described = {(path, method) for path, item in document["paths"].items() for method in item}

    assert served <= described


def test_no_operation_hides_its_failures_behind_a_default(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                assert "default" not in operation["responses"], path


def test_every_operation_says_what_it_does_and_who_may_call_it(
    document: dict[str, Any],
) -> None:
    open_to_all = {
        "/api/v1/auths/signin",
        "/api/v1/auths/signup",
        "/health",
        "/ready",
        "/v1/images/files/{image_id}",
    }
    for path, item in document["paths"].items():
        for operation in item.values():
            if "responses" in operation:
                assert operation["summary"], path
                assert ("security" in operation) == (path not in open_to_all), path


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("post", "/api/images/generations", {"Prefer", "Idempotency-Key"}),
        ("post", "/api/v1/jobs/{job_id}/retry", {"Prefer", "Idempotency-Key"}),
        ("get", "/api/v1/jobs/{job_id}/events", {"Last-Event-ID"}),
        ("get", "/api/v1/files/{image_id}/content", {"Range", "If-None-Match", "If-Match"}),
        ("post", "/api/v1/batches/", {"Idempotency-Key"}),
        ("post", "/v1/images/generations", {"Idempotency-Key"}),
    ],
)
def test_the_headers_that_an_operation_heeds_are_described(
    document: dict[str, Any], method: str, path: str, headers: set[str]
) -> None:
    parameters = document["paths"][path][method]["parameters"]

    assert {each["name"] for each in parameters if each["in"] == "header"} == headers


def test_the_docs_page_needs_nothing_from_elsewhere(anna: Caller) -> None:
    page = anna.nobody.get("/docs/").text

    loaded = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert loaded
    for each in loaded:
        assert urlsplit(each).netloc == ""
        assert anna.nobody.get(urljoin("/docs/", each)).status_code == 200


def test_every_error_has_a_status() -> None:
    def kinds(root: type[errors.DarkroomError]) -> list[type[errors.DarkroomError]]:
        return [root, *(each for child in root.__subclasses__() for each in kinds(child))]

    for kind in kinds(errors.CallerError):
        assert 400 <= next(STATUSES[each] for each in kind.__mro__ if each in STATUSES) < 500


def test_health_looks_at_nothing_and_ready_at_everything(anna: Caller) -> None:
    assert anna.nobody.get("/health").json == {"status": "ok"}
    ready = anna.nobody.get("/ready")
    assert ready.status_code == 200
    assert set(ready.json["checks"]) == {"database", "broker", "files", "workers", "engines"}
    assert ready.json["checks"]["workers"]["count"] == 0
