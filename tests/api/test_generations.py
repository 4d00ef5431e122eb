"""Asking for pictures, as Open WebUI's clients do, and beyond."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import event

from api.waiting import Waiter
from darkroom.domain import JobStatus
from darkroom.errors import Unavailable
from darkroom.settings import Settings
from storage import Storage
from tests.api.conftest import Answer, Caller, InlineQueue
from tests.backends.choice import only_embedded


@pytest.mark.parametrize("prefix", ["/api/images", "/api/v1/images"])
def test_a_prompt_becomes_a_picture_of_the_requested_size(anna: Caller, prefix: str) -> None:
    answer = anna.post(
        f"{prefix}/generations",
        json={"prompt": "a lighthouse", "model": "builtin/placeholder", "size": "320x200", "n": 1},
    )

    assert answer.status_code == 200
    (picture,) = answer.json
    assert set(picture) == {"url", "id", "name", "content_type"}
    assert picture["url"] == f"/api/v1/files/{picture['id']}/content"
    content = anna.get(picture["url"])
    assert content.content_type == picture["content_type"] == "image/png"
    assert Image.open(io.BytesIO(content.data)).size == (320, 200)


def test_several_pictures_come_in_order_with_seeds_that_follow(anna: Caller) -> None:
    answer = anna.generate(n=3, seed=7)

    job = anna.get(f"/api/v1/jobs/{answer.headers['Darkroom-Job']}").json
    assert [each["seed"] for each in job["images"]] == [7, 8, 9]
    assert [each["id"] for each in job["images"]] == [each["id"] for each in answer.json]


def test_the_requested_model_is_used_and_recorded(anna: Caller) -> None:
    answer = anna.generate(model="placeholder")

    job = anna.get(f"/api/v1/jobs/{answer.headers['Darkroom-Job']}").json
    assert (job["engine"], job["model"]) == ("builtin", "placeholder")


def test_an_unknown_model_is_refused_with_the_next_step(anna: Caller, queue: InlineQueue) -> None:
    answer = anna.generate(model="dall-e-9")

    assert answer.status_code == 400
    assert answer.json["code"] == "model_not_found"
    assert answer.json["param"] == "model"
    assert "/api/images/models" in answer.json["detail"]
    assert queue.sent == []


def test_the_configured_size_is_the_default(anna: Caller, admin: Caller) -> None:
    admin.post("/api/images/config/update", json={"IMAGE_SIZE": "96x64"})

    answer = anna.generate(size=None)

    job = anna.get(f"/api/v1/jobs/{answer.headers['Darkroom-Job']}").json
    assert (job["images"][0]["width"], job["images"][0]["height"]) == (96, 64)


def test_what_the_model_cannot_do_is_said_in_the_answer_and_in_the_job(anna: Caller) -> None:
    answer = anna.generate(quality="hd")

    assert answer.status_code == 200
    assert "quality" in answer.headers["Warning"]
    job = anna.get(f"/api/v1/jobs/{answer.headers['Darkroom-Job']}").json
    assert "quality" in job["warnings"][0]


def test_a_strict_request_is_refused_instead(anna: Caller, queue: InlineQueue) -> None:
    answer = anna.generate(quality="hd", strict=True)

    assert answer.status_code == 400
    assert (answer.json["code"], answer.json["param"]) == ("parameter_unsupported", "quality")
    assert queue.sent == []


def test_metadata_comes_back_and_links_the_picture_to_its_message(anna: Caller) -> None:
    wanted = {"chat_id": "chat-1", "message_id": "message-2", "mine": [1, {"a": None}]}

    answer = anna.generate(metadata=wanted)
    anna.generate(metadata={"chat_id": "another"})

    assert anna.get(f"/api/v1/jobs/{answer.headers['Darkroom-Job']}").json["metadata"] == wanted
    listed = anna.get("/api/v1/files/?chat_id=chat-1&message_id=message-2").json
    assert [each["id"] for each in listed] == [answer.json[0]["id"]]


def test_a_failed_job_is_a_problem_that_names_engine_and_cause(
    make_app: Callable[[Settings], Flask],
    settings: Settings,
    queue: InlineQueue,
    sign_in: Callable[..., Caller],
) -> None:
    scripted = replace(settings, builtin_script=True)
    queue.settings = scripted
    caller = sign_in("bo@example.org")
    caller.client = make_app(scripted).test_client()

    answer = caller.generate(prompt="a ship [fault=ContentRefused]")

    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == "content_refused"
    assert answer.json["engine"] == "builtin"
    job = caller.get(answer.json["job"]).json
    assert job["status"] == "failed"
    assert job["error"]["code"] == "content_refused"


def test_a_prompt_alone_never_scripts_the_built_in_engine(anna: Caller) -> None:
    answer = anna.generate(prompt="a ship [fault=ContentRefused] [latency=60]")

    assert answer.status_code == 200


class TestWaiting:
    """A wait that ends never ends the job."""

    def test_respond_async_answers_at_once_with_a_link_to_poll(
        self, anna: Caller, queue: InlineQueue
    ) -> None:
        queue.is_held = True

        answer = anna.generate(headers={"Prefer": "respond-async"})

        assert answer.status_code == 202
        assert answer.headers["Preference-Applied"] == "respond-async"
        assert answer.headers["Location"] == answer.json["url"]
        assert anna.get(answer.headers["Location"]).json["status"] == "queued"
        queue.run(queue.sent[0])
        finished = anna.get(answer.headers["Location"]).json
        assert finished["status"] == "succeeded"
        assert anna.get(finished["images"][0]["url"]).status_code == 200

    def test_a_wait_that_ends_answers_202_and_keeps_the_late_result(
        self, anna: Caller, queue: InlineQueue
    ) -> None:
        queue.is_held = True

        answer = anna.generate(headers={"Prefer": "wait=0"})

        assert answer.status_code == 202
        assert answer.headers["Preference-Applied"] == "wait=0"
        queue.run(queue.sent[0])
        assert anna.get(answer.headers["Location"]).json["status"] == "succeeded"

    def test_a_wait_is_never_longer_than_the_server_allows(
        self, anna: Caller, settings: Settings
    ) -> None:
        answer = anna.generate(headers={"Prefer": "wait=86400, respond-async"})

        assert answer.status_code == 200
        assert answer.headers["Preference-Applied"] == f"respond-async, wait={settings.wait_s:.0f}"

    def test_a_preference_that_makes_no_sense_is_refused_and_nothing_accepted(
        self, anna: Caller
    ) -> None:
        answer = anna.generate(headers={"Prefer": "wait=soon"})

        assert (answer.status_code, answer.json["param"]) == (400, "Prefer")
        assert anna.get("/api/v1/jobs/").json == []

    def test_a_job_is_accepted_while_the_broker_is_away(
        self, anna: Caller, queue: InlineQueue, storage: Storage
    ) -> None:
        queue.is_away = True

        answer = anna.generate(headers={"Prefer": "wait=0"})

        assert answer.status_code == 202
        (waiting,) = storage.backlog.take("builtin", window=8)
        assert waiting.id == answer.json["id"]


def test_an_accepted_job_is_named_though_the_database_goes_away_then(
    anna: Caller, queue: InlineQueue, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_away(*_: object, **__: object) -> None:
        raise Unavailable("The database is away.")

    queue.is_away = True
    monkeypatch.setattr(storage.backlog, "put_back", is_away)
    monkeypatch.setattr(Waiter, "wait", is_away)

    answer = anna.generate()

    assert answer.status_code == 202
    assert storage.jobs.get(answer.headers["Darkroom-Job"]).status is JobStatus.QUEUED


@contextmanager
def _full_disk(storage: Storage) -> Iterator[None]:
    """While the block runs, the database's file cannot grow: SQLite says that its disk is full."""
    engine = storage.database.engine

    def can_grow_to(pages: int, connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    # One that is below the size of the file means its size.
    forbid, allow = partial(can_grow_to, 1), partial(can_grow_to, 2**32 - 2)
    event.listen(engine, "checkout", forbid)
    yield
    event.remove(engine, "checkout", forbid)
    event.listen(engine, "checkout", allow)


@only_embedded
def test_a_job_that_a_full_disk_cannot_hold_is_refused_and_the_others_stay(
    anna: Caller, queue: InlineQueue, storage: Storage
) -> None:
    queue.is_held = True

    def ask() -> Answer:
        return anna.generate(prompt="a lighthouse " * 100, headers={"Prefer": "respond-async"})

    with _full_disk(storage):
        answers = [ask() for _ in range(30)]
        listed = anna.get("/api/v1/jobs/").json
    again = ask()

    accepted = [each.json["id"] for each in answers if each.status_code == 202]
    refused = [each for each in answers if each.status_code != 202]
    assert sorted(each["id"] for each in listed) == sorted(accepted)
    assert refused
    assert {(each.status_code, each.json["code"]) for each in refused} == {(503, "unavailable")}
    assert all("Retry-After" in each.headers for each in refused)
    assert again.status_code == 202


class TestIdempotency:
    """A repeated call with the same key is the same call."""

    def test_the_same_request_gets_the_same_job(self, anna: Caller, queue: InlineQueue) -> None:
        first = anna.generate(headers={"Idempotency-Key": "k1"})
        second = anna.generate(headers={"Idempotency-Key": "k1"})

        assert second.status_code == 200
        assert second.json == first.json
        assert len(queue.sent) == 1

    def test_a_repeat_while_the_job_runs_waits_for_it(
        self, anna: Caller, queue: InlineQueue
    ) -> None:
        queue.is_held = True
        first = anna.generate(headers={"Idempotency-Key": "k1", "Prefer": "respond-async"})
        queue.run(queue.sent[0])

        second = anna.generate(headers={"Idempotency-Key": "k1"})

        assert second.headers["Darkroom-Job"] == first.json["id"]
        assert second.status_code == 200

    def test_another_request_with_the_key_is_refused(self, anna: Caller) -> None:
        anna.generate(headers={"Idempotency-Key": "k1"})

        answer = anna.generate(prompt="another", headers={"Idempotency-Key": "k1"})

        assert (answer.status_code, answer.json["code"]) == (422, "idempotency_conflict")

    def test_the_key_of_another_user_is_another_key(
        self, anna: Caller, sign_in: Callable[..., Caller], queue: InlineQueue
    ) -> None:
        anna.generate(headers={"Idempotency-Key": "k1"})

        answer = sign_in("bo@example.org").generate(headers={"Idempotency-Key": "k1"})

        assert answer.status_code == 200
        assert len(queue.sent) == 2


def test_a_worker_is_told_which_request_made_the_job(anna: Caller, storage: Storage) -> None:
    answer = anna.generate(headers={"X-Request-ID": "trace-1"})

    assert answer.headers["X-Request-ID"] == "trace-1"
    assert storage.jobs.get(answer.headers["Darkroom-Job"]).request_id == "trace-1"
