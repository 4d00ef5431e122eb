"""OpenAI's dialect: a picture shown while it is drawn."""

import base64
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from PIL import Image
from werkzeug.test import TestResponse

from darkroom.settings import Settings
from storage import Storage
from tests.api.conftest import Answer, Caller, InlineQueue

REQUIRED = {"type", "b64_json", "created_at", "size", "quality", "background", "output_format"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, builtin_script=True)


def stream(caller: Caller, **body: Any) -> Answer:
    return caller.post(
        "/v1/images/generations",
        json={"prompt": "a lighthouse", "size": "64x64", "stream": True} | body,
    )


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = [each for each in block.splitlines() if not each.startswith(":")]
        if lines:
            name, data = lines
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def pieces_of(answer: TestResponse) -> Iterator[str]:
    return (str(each, "utf-8") for each in cast(Iterable[bytes], answer.response))


def test_a_stream_ends_with_the_picture(anna: Caller) -> None:
    answer = stream(anna)

    assert answer.content_type == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-cache"
    [(name, data)] = events(answer.text)
    assert name == data["type"] == "image_generation.completed"
    assert set(data) == REQUIRED | {"usage"}
    assert data["usage"]["input_tokens_details"] == {"text_tokens": 0, "image_tokens": 0}
    assert Image.open(io.BytesIO(base64.b64decode(data["b64_json"]))).size == (64, 64)


def test_several_pictures_are_completed_one_by_one(anna: Caller) -> None:
    found = events(stream(anna, n=3).text)

    assert [name for name, _ in found] == ["image_generation.completed"] * 3
    assert len({data["b64_json"] for _, data in found}) == 3


def test_an_edit_has_events_of_its_own_name(anna: Caller) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    buffer.seek(0)

    answer = anna.post(
        "/v1/images/edits",
        data={"prompt": "a boat", "stream": "true", "image": (buffer, "upload")},
        content_type="multipart/form-data",
    )

    assert [name for name, _ in events(answer.text)] == ["image_edit.completed"]


def test_a_failure_is_an_event_with_an_error_member(anna: Caller) -> None:
    [(name, data)] = events(stream(anna, prompt="[fault=ContentRefused]").text)

    assert name == "error"
    assert data["error"]["code"] == "content_policy_violation"
    assert set(data["error"]) == {"message", "type", "param", "code"}


def test_what_is_refused_at_once_has_a_status(anna: Caller) -> None:
    assert stream(anna, size="big").status_code == 400
    assert stream(anna, model="nothing").status_code == 404


def test_a_link_in_a_stream_is_warned_about(anna: Caller) -> None:
    answer = stream(anna, response_format="url")

    assert "response_format" in answer.headers["Warning"]
    assert "b64_json" in answer.text


@pytest.mark.parametrize("asked", [0, 1])
def test_as_many_previews_are_shown_as_were_asked_for(
    anna: Caller, queue: InlineQueue, storage: Storage, asked: int
) -> None:
    queue.is_held = True
    answer = anna.client.post(
        "/v1/images/generations",
        json={"prompt": "x", "size": "64x64", "stream": True, "partial_images": asked},
        headers=anna.headers,
    )
    job_id = answer.headers["Darkroom-Job"]
    pieces = pieces_of(answer)
    assert next(pieces) == ": ping\n\n"
    storage.attempts.claim(job_id, worker="host-1:w", lease_s=30)
    storage.gallery.keep_preview(job_id, b"\xff\xd8\xff first")
    if asked:
        name, data = events(next(pieces))[0]
        assert name == data["type"] == "image_generation.partial_image"
        assert set(data) == REQUIRED | {"partial_image_index"}
        assert data["partial_image_index"] == 0
        assert data["output_format"] == "jpeg"
        assert base64.b64decode(data["b64_json"]) == b"\xff\xd8\xff first"
    storage.gallery.keep_preview(job_id, b"\xff\xd8\xff second")
    storage.jobs.request_cancel(job_id)
    job = storage.jobs.get(job_id)
    storage.attempts.cancel_held(job)

    rest = events("".join(pieces))

    assert [name for name, _ in rest] == ["error"]
    assert rest[0][1]["error"]["code"] == "canceled"
    answer.close()


def test_a_process_that_stops_ends_its_streams_with_an_error(
    anna: Caller, app: Any, queue: InlineQueue
) -> None:
    queue.is_held = True
    answer = anna.client.post(
        "/v1/images/generations",
        json={"prompt": "x", "stream": True},
        headers=anna.headers,
    )
    pieces = pieces_of(answer)
    next(pieces)

    app.extensions["darkroom"].waiter.drain()

    [(name, data)] = events("".join(pieces))
    assert (name, data["error"]["code"]) == ("error", "timeout")
    answer.close()
