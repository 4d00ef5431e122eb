"""A job can be followed: its state at once, after every change, and at its end."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Never

import pytest
from flask import Flask

from api import events, waiting
from api.services import EXTENSION, Services
from darkroom.domain import Job
from darkroom.errors import Unavailable
from darkroom.settings import Settings
from storage import Storage
from storage.database import Database
from tests.api.conftest import WORKER, Answer, Caller, InlineQueue


@dataclass
class Stream:
    """An event stream, event by event."""

    answer: Answer
    chunks: Iterator[bytes]

    def next(self) -> dict[str, Any]:
        """The snapshot of the next event; comments are passed over."""
        for chunk in self.chunks:
            if chunk.startswith(b":"):
                continue
            number, kind, data = chunk.decode().rstrip("\n").split("\n")
            snapshot: dict[str, Any] = json.loads(data.removeprefix("data: "))
            assert kind == "event: job"
            assert number == f"id: {snapshot['revision']}"
            return snapshot
        raise AssertionError("The stream is over.")

    def rest(self) -> list[bytes]:
        return list(self.chunks)


Follow = Callable[..., Stream]


@pytest.fixture
def follow(anna: Caller, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follow]:
    monkeypatch.setattr(waiting, "RECHECK_EVERY_S", 0.05)
    answers: list[Answer] = []

    def open_stream(url: str, last_event_id: int | None = None) -> Stream:
        seen = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        answers.append(anna.follow(f"{url}/events", headers=seen))
        return Stream(answers[-1], iter(answers[-1].iter_encoded()))

    yield open_stream
    for answer in answers:
        answer.close()


@pytest.fixture
def url(anna: Caller, queue: InlineQueue) -> str:
    """A queued job."""
    queue.is_held = True
    return str(anna.generate(headers={"Prefer": "respond-async"}).headers["Location"])


@pytest.fixture
def services(app: Flask) -> Services:
    found: Services = app.extensions[EXTENSION]
    return found


def claim(storage: Storage, url: str) -> Job:
    held = storage.attempts.claim(url.rpartition("/")[2], worker=WORKER, lease_s=30)
    assert held is not None
    return held


def test_the_state_comes_at_once_then_every_change_then_the_end(
    anna: Caller, url: str, storage: Storage, follow: Follow
) -> None:
    stream = follow(url)

    assert stream.answer.content_type.startswith("text/event-stream")
    assert stream.answer.headers["Cache-Control"] == "no-cache"
    assert stream.answer.headers["X-Accel-Buffering"] == "no"
    assert stream.next()["status"] == "queued"
    held = claim(storage, url)
    assert stream.next()["status"] == "running"
    storage.attempts.note(held, progress=0.5)
    assert stream.next()["progress"] == 0.5
    anna.post(f"{url}/cancel")
    assert stream.next()["status"] == "canceling"
    storage.attempts.cancel_held(held)
    assert stream.next()["status"] == "canceled"
    assert stream.rest() == []


def test_an_event_is_what_the_job_answers(
    anna: Caller, url: str, queue: InlineQueue, follow: Follow
) -> None:
    queue.run(queue.sent[0])

    snapshot = follow(url).next()

    assert snapshot == anna.get(url).json
    assert len(snapshot["images"]) == 1


def test_a_follower_hears_of_a_job_that_a_worker_runs(
    url: str, queue: InlineQueue, follow: Follow
) -> None:
    stream = follow(url)
    stream.next()

    queue.run(queue.sent[0])

    assert stream.next()["status"] == "succeeded"
    assert stream.rest() == []


def test_who_saw_the_newest_state_is_told_the_next(
    url: str, storage: Storage, follow: Follow, anna: Caller
) -> None:
    seen = anna.get(url).json["revision"]
    claim(storage, url)
    stream = follow(url, last_event_id=seen)
    running = stream.next()
    stream.answer.close()

    again = follow(url, last_event_id=running["revision"])
    storage.attempts.note(storage.jobs.get(running["id"]), progress=0.25)

    assert again.next()["progress"] == 0.25


def test_who_saw_the_end_is_told_not_to_come_back(
    url: str, queue: InlineQueue, follow: Follow, anna: Caller
) -> None:
    queue.run(queue.sent[0])

    answer = follow(url, last_event_id=anna.get(url).json["revision"]).answer

    assert (answer.status_code, answer.data) == (204, b"")


def test_a_quiet_stream_shows_that_it_lives(
    url: str, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.0)
    stream = follow(url)
    stream.next()

    assert next(stream.chunks) == b": ping\n\n"


def test_a_stopping_process_ends_its_streams(url: str, follow: Follow, services: Services) -> None:
    stream = follow(url)
    stream.next()

    services.waiter.drain()

    assert stream.rest() == []


def test_a_database_that_is_away_for_a_moment_ends_no_stream(
    url: str, storage: Storage, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.0)
    stream = follow(url)
    stream.next()
    claim(storage, url)

    def away(database: Database) -> Never:
        raise Unavailable("The database does not answer.")

    with monkeypatch.context() as outage:
        outage.setattr(Database, "reading", away)
        assert next(stream.chunks) == b": ping\n\n"
    assert stream.next()["status"] == "running"


def test_a_stream_takes_a_place_and_gives_it_back(
    url: str, follow: Follow, services: Services
) -> None:
    stream = follow(url)
    stream.next()
    assert services.waiter.held == 1

    stream.answer.close()

    assert services.waiter.held == 0


def test_asking_for_the_headers_alone_takes_no_place(
    anna: Caller, url: str, services: Services
) -> None:
    answer = anna.client.head(f"{url}/events", headers=anna.headers)

    assert answer.content_type.startswith("text/event-stream")
    assert services.waiter.held == 0


class TestWithoutRoom:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, api_threads=16)

    def test_without_a_free_place_the_answer_says_when_to_try_again(
        self, url: str, follow: Follow, settings: Settings
    ) -> None:
        for _ in range(settings.waiting_places):
            follow(url).next()

        answer = follow(url).answer

        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0


def test_only_the_owner_and_admins_can_follow(
    anna: Caller, admin: Caller, url: str, queue: InlineQueue, sign_in: Callable[..., Caller]
) -> None:
    queue.run(queue.sent[0])

    assert admin.get(f"{url}/events").status_code == 200
    assert sign_in("bo@example.org").get(f"{url}/events").status_code == 404
    assert anna.nobody.get(f"{url}/events").status_code == 401
