"""How much one user may have queued, and what lanes and deadlines may be."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from darkroom.settings import Settings
from tests.api.conftest import Caller, InlineQueue

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, max_queued_per_user=2)


@pytest.fixture
def full(app: Flask, anna: Caller, queue: InlineQueue) -> Caller:
    """Anna, with as much queued as she may have."""
    queue.is_held = True
    for key in ("k1", "k2"):
        assert anna.generate(headers=ASYNC | {"Idempotency-Key": key}).status_code == 202
    return anna


def test_beyond_the_limit_a_request_is_refused_until_there_is_room(
    full: Caller, queue: InlineQueue
) -> None:
    refused = full.generate(headers=ASYNC)

    assert (refused.status_code, refused.json["code"]) == (429, "limit_reached")
    assert int(refused.headers["Retry-After"]) > 0
    assert len(full.get("/api/v1/jobs/").json) == 2
    queue.run(queue.sent[0])
    assert full.generate(headers=ASYNC).status_code == 202


def test_the_limit_of_one_user_is_not_that_of_another(
    full: Caller, sign_in: Callable[..., Caller]
) -> None:
    assert sign_in("bo@example.org").generate(headers=ASYNC).status_code == 202


def test_a_repeated_request_is_the_same_job_however_full_the_queue_is(full: Caller) -> None:
    again = full.generate(headers=ASYNC | {"Idempotency-Key": "k1"})

    assert again.status_code == 202
    assert again.json["id"] in {each["id"] for each in full.get("/api/v1/jobs/").json}
    other = full.generate(prompt="another", headers=ASYNC | {"Idempotency-Key": "k1"})
    assert other.json["code"] == "idempotency_conflict"


def test_a_repeated_request_is_the_same_job_whatever_was_configured_since(
    full: Caller, admin: Caller
) -> None:
    admin.post("/api/images/config/update", json={"ENABLE_IMAGE_GENERATION": False})

    assert full.generate(headers=ASYNC | {"Idempotency-Key": "k1"}).status_code == 202
    assert full.generate(headers=ASYNC).status_code == 403


def test_a_retry_counts_too(full: Caller, queue: InlineQueue) -> None:
    url = f"/api/v1/jobs/{queue.sent[0].id}"
    full.post(f"{url}/cancel")
    assert full.generate(headers=ASYNC).status_code == 202

    assert full.post(f"{url}/retry").status_code == 429


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lane", "express"),
        ("lane", "BATCH"),
        ("lane", 1),
        ("deadline_s", 0),
        ("deadline_s", 604_801),
        ("deadline_s", 1.5),
        ("deadline_s", "60"),
    ],
)
def test_a_lane_or_deadline_that_makes_no_sense_is_named(
    anna: Caller, queue: InlineQueue, name: str, value: object
) -> None:
    body: dict[str, Any] = {name: value}

    answer = anna.generate(**body)

    assert (answer.status_code, answer.json["param"]) == (400, name)
    assert queue.sent == []
