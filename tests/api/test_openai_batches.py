"""OpenAI's dialect: files go in, batches run, files come out."""

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
from flask import Flask
from PIL import Image

from darkroom.settings import Settings
from storage import Storage
from tests.api.conftest import Answer, Caller, InlineQueue
from worker.upkeep import CHUNKS_PER_ROUND

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"


def envelope(number: int, url: str = GENERATIONS, **body: Any) -> dict[str, Any]:
    usual = {"prompt": f"prompt {number}", "size": "64x64"}
    return {"custom_id": f"r{number}", "method": "POST", "url": url, "body": usual | body}


def upload(caller: Caller, data: bytes, purpose: str = "batch", **rest: str) -> Answer:
    return caller.post(
        "/v1/files",
        data={"purpose": purpose, "file": (io.BytesIO(data), "in.jsonl"), **rest},
        content_type="multipart/form-data",
    )


def lines_of(*each: Any) -> bytes:
    texts = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in each)
    return b"\n".join(texts)


def run(caller: Caller, *each: Any, endpoint: str = GENERATIONS, **rest: Any) -> Answer:
    file = upload(caller, lines_of(*each)).json
    return caller.post(
        "/v1/batches",
        json={"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h"} | rest,
    )


def draw_all(storage: Storage, batch: dict[str, Any], queue: InlineQueue) -> None:
    """What upkeep does, with a worker at hand."""
    for _ in range(CHUNKS_PER_ROUND):
        storage.batches.plant(batch["id"].removeprefix("batch_"))
    while taken := storage.backlog.take("builtin", window=100):
        for each in taken:
            queue.send(each)


def content(caller: Caller, file_id: str) -> list[Any]:
    answer = caller.get(f"/v1/files/{file_id}/content")
    assert answer.status_code == 200, answer.text
    assert len(answer.data) == caller.get(f"/v1/files/{file_id}").json["bytes"]
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture
def scripted(
    make_app: Callable[[Settings], Flask], settings: Settings, queue: InlineQueue, anna: Caller
) -> Caller:
    """Someone whose prompts say how the built-in engine fails."""
    queue.settings = replace(settings, builtin_script=True)
    return Caller(make_app(queue.settings).test_client(), anna.headers, anna.user)


def test_an_uploaded_file_comes_back_as_it_was(anna: Caller) -> None:
    file = upload(anna, b"one\ntwo\n").json

    assert re.fullmatch(r"file-[0-9a-f-]{36}", file["id"])
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": 8,
        "created_at": file["created_at"],
        "expires_at": None,
        "filename": "in.jsonl",
        "purpose": "batch",
        "status": "processed",
    }
    assert anna.get(f"/v1/files/{file['id']}").json == file
    assert anna.get(f"/v1/files/{file['id']}/content").data == b"one\ntwo\n"


def test_a_file_can_be_deleted_and_can_expire(anna: Caller) -> None:
    expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = upload(anna, b"x", **expiry).json

    assert file["expires_at"] == file["created_at"] + 3600
    assert anna.delete(f"/v1/files/{file['id']}").json == {
        "id": file["id"],
        "object": "file",
        "deleted": True,
    }
    assert anna.get(f"/v1/files/{file['id']}").status_code == 404
    assert anna.get("/v1/files").json["data"] == []


@pytest.mark.parametrize(
    ("form", "param", "code"),
    [
        ({"purpose": "batch"}, "file", "missing_required_parameter"),
        ({"file": (io.BytesIO(b"x"), "x")}, "purpose", "missing_required_parameter"),
        ({"purpose": "fun", "file": (io.BytesIO(b"x"), "x")}, "purpose", "invalid_value"),
        ({"purpose": "batch", "color": "red"}, "color", "unknown_parameter"),
        (
            {"purpose": "batch", "expires_after[seconds]": "soon"},
            "expires_after[seconds]",
            "invalid_value",
        ),
        (
            {"purpose": "batch", "expires_after[seconds]": "3600"},
            "expires_after.anchor",
            "missing_required_parameter",
        ),
    ],
)
def test_a_wrong_upload_is_refused(
    anna: Caller, form: dict[str, Any], param: str, code: str
) -> None:
    answer = anna.post("/v1/files", data=form, content_type="multipart/form-data")

    assert answer.status_code == 400
    assert (answer.json["error"]["param"], answer.json["error"]["code"]) == (param, code)


def test_lists_of_files_end(anna: Caller) -> None:
    ids = [upload(anna, bytes([number])).json["id"] for number in range(3)]
    upload(anna, b"picture", purpose="vision")

    first = anna.get("/v1/files?purpose=batch&limit=2").json
    rest = anna.get(f"/v1/files?purpose=batch&limit=2&after={first['last_id']}").json
    upwards = anna.get("/v1/files?purpose=batch&order=asc").json

    assert ([each["id"] for each in first["data"]], first["has_more"]) == (ids[:0:-1], True)
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (ids[:1], False)
    assert [each["id"] for each in upwards["data"]] == ids
    nothing = anna.get(f"/v1/files?purpose=batch&after={ids[0]}").json
    assert nothing == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_a_batch_runs_and_writes_what_came_of_it(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    batch = run(anna, *(envelope(number) for number in range(3)), metadata={"a": "b"}).json
    begun = anna.get(f"/v1/batches/{batch['id']}").json
    draw_all(storage, batch, queue)
    done = anna.get(f"/v1/batches/{batch['id']}").json

    assert re.fullmatch(r"batch_[0-9a-f-]{36}", batch["id"])
    assert begun["object"] == "batch"
    assert begun["expires_at"] == begun["in_progress_at"] + 24 * 3600
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert done["metadata"] == {"a": "b"}
    assert done["completed_at"] >= done["created_at"]
    assert (done["error_file_id"], done["errors"]) == (None, None)
    output = anna.get(f"/v1/files/{done['output_file_id']}").json
    assert (output["purpose"], output["expires_at"]) == ("batch_output", None)
    found = content(anna, done["output_file_id"])
    assert [each["custom_id"] for each in found] == ["r0", "r1", "r2"]
    for each in found:
        assert each["error"] is None
        assert each["response"]["status_code"] == 200
        [item] = each["response"]["body"]["data"]
        Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))).verify()
    assert anna.get(f"/v1/batches/{batch['id']}").json == done


def test_a_batch_that_succeeds_in_part_writes_two_files(
    scripted: Caller, storage: Storage, queue: InlineQueue
) -> None:
    batch = run(scripted, envelope(1), envelope(2, prompt="[fault=ContentRefused] a ship")).json
    draw_all(storage, batch, queue)
    done = scripted.get(f"/v1/batches/{batch['id']}").json

    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert [each["custom_id"] for each in content(scripted, done["output_file_id"])] == ["r1"]
    [failure] = content(scripted, done["error_file_id"])
    assert (failure["custom_id"], failure["error"]) == ("r2", None)
    assert failure["response"]["status_code"] == 400
    assert failure["response"]["body"]["error"]["code"] == "content_policy_violation"


def test_of_a_batch_that_fails_altogether_there_is_no_output(
    scripted: Caller, storage: Storage, queue: InlineQueue
) -> None:
    batch = run(scripted, envelope(1, prompt="[fault=RequestRejected] a ship")).json
    draw_all(storage, batch, queue)
    done = scripted.get(f"/v1/batches/{batch['id']}").json

    assert (done["status"], done["output_file_id"]) == ("completed", None)
    assert len(content(scripted, done["error_file_id"])) == 1


def test_wrong_lines_fail_the_batch_and_not_the_call(anna: Caller, storage: Storage) -> None:
    answer = run(
        anna,
        envelope(1),
        b"{",
        envelope(1),
        envelope(4, url=EDITS),
        envelope(5, size="huge"),
        envelope(6, colour="red"),
        envelope(7, model="nobody/knows"),
        {"custom_id": "r8", "url": GENERATIONS},
        envelope(9, stream=True),
        envelope(10) | {"method": "GET"},
        b"[]",
        envelope(12) | {"priority": 1},
    )

    assert answer.status_code == 200
    batch = answer.json
    assert (batch["status"], batch["failed_at"]) == ("failed", batch["created_at"])
    assert [(each["line"], each["code"], each["param"]) for each in batch["errors"]["data"]] == [
        (2, "invalid_json_line", "body"),
        (3, "duplicate_custom_id", "custom_id"),
        (4, "url_mismatch", "url"),
        (5, "invalid_value", "size"),
        (6, "unknown_parameter", "colour"),
        (7, "model_not_found", "model"),
        (8, "missing_required_parameter", "body"),
        (9, "invalid_value", "stream"),
        (10, "invalid_value", "method"),
        (11, "invalid_json_line", "body"),
        (12, "unknown_parameter", "priority"),
    ]
    assert anna.get(f"/v1/batches/{batch['id']}").json == batch
    assert anna.post(f"/v1/batches/{batch['id']}/cancel").json == batch
    assert storage.jobs.list() == []


def test_an_empty_file_fails_the_batch(anna: Caller) -> None:
    batch = run(anna, b"\n").json

    assert batch["status"] == "failed"
    assert [each["code"] for each in batch["errors"]["data"]] == ["empty_file"]


def test_only_a_file_for_batches_of_ones_own_makes_one(
    anna: Caller, sign_in: Callable[..., Caller]
) -> None:
    bo = sign_in("bo@example.org")
    picture = upload(anna, b"x", purpose="vision").json["id"]
    theirs = upload(bo, lines_of(envelope(1))).json["id"]
    body = {"endpoint": GENERATIONS, "completion_window": "24h"}

    for file_id in (picture, theirs, "file-none"):
        answer = anna.post("/v1/batches", json=body | {"input_file_id": file_id})
        assert answer.status_code == 400
        assert answer.json["error"]["param"] == "input_file_id"


def test_files_and_batches_are_their_owners(anna: Caller, sign_in: Callable[..., Caller]) -> None:
    bo = sign_in("bo@example.org")
    batch = run(anna, envelope(1)).json

    for path in (f"/v1/files/{batch['input_file_id']}", f"/v1/batches/{batch['id']}"):
        assert bo.get(path).status_code == 404
    assert bo.get(f"/v1/files/{batch['input_file_id']}/content").status_code == 404
    assert bo.delete(f"/v1/files/{batch['input_file_id']}").status_code == 404
    assert bo.post(f"/v1/batches/{batch['id']}/cancel").status_code == 404
    assert bo.get("/v1/files").json["data"] == bo.get("/v1/batches").json["data"] == []


def test_a_canceled_batch_tells_of_what_never_ran(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    queue.is_held = True
    batch = run(anna, *(envelope(number) for number in range(300))).json

    # The SDK sends it with the type of JSON and no body.
    canceled = anna.post(f"/v1/batches/{batch['id']}/cancel", content_type="application/json").json

    assert canceled["status"] == "cancelled"
    assert canceled["cancelled_at"] >= canceled["cancelling_at"]
    assert canceled["output_file_id"] is None
    found = content(anna, canceled["error_file_id"])
    assert {each["custom_id"] for each in found} == {f"r{number}" for number in range(300)}
    assert {each["error"]["code"] for each in found} == {"batch_cancelled"}
    assert {each["response"] for each in found} == {None}
    again = anna.post(f"/v1/batches/{batch['id']}/cancel")
    assert (again.status_code, again.json) == (200, canceled)


def test_lists_of_batches_end(anna: Caller) -> None:
    ids = [run(anna, envelope(1), metadata={"n": str(n)}).json["id"] for n in range(3)][::-1]

    first = anna.get("/v1/batches?limit=2").json
    rest = anna.get(f"/v1/batches?limit=2&after={first['last_id']}").json

    assert [each["id"] for each in first["data"] + rest["data"]] == ids
    assert (first["has_more"], rest["has_more"]) == (True, False)


def test_links_are_written_where_they_are_wanted(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    batch = run(anna, envelope(1, response_format="url")).json
    draw_all(storage, batch, queue)
    done = anna.get(f"/v1/batches/{batch['id']}").json

    [line] = content(anna, done["output_file_id"])

    [item] = line["response"]["body"]["data"]
    assert anna.nobody.get(item["url"]).mimetype == "image/png"


def test_pictures_that_were_uploaded_are_changed(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    picture = upload(anna, buffer.getvalue(), purpose="vision").json["id"]

    batch = run(anna, envelope(1, url=EDITS, images=[{"file_id": picture}]), endpoint=EDITS).json
    draw_all(storage, batch, queue)

    done = anna.get(f"/v1/batches/{batch['id']}").json
    assert done["request_counts"]["completed"] == 1, content(anna, done["error_file_id"])
    direct = anna.post(EDITS, json={"prompt": "a hat", "images": [{"file_id": picture}]})
    assert direct.status_code == 200


def test_a_call_that_the_sdk_repeats_makes_one_batch(
    anna: Caller, queue: InlineQueue, broker: "redis.Redis"
) -> None:
    queue.is_held = True
    file = upload(anna, lines_of(envelope(1))).json
    body = {
        "input_file_id": file["id"],
        "endpoint": GENERATIONS,
        "completion_window": "24h",
    }

    first = anna.post("/v1/batches", json=body, headers={"x-stainless-retry-count": "0"}).json
    # The answer got lost on its way.
    broker.delete(f"darkroom:openai-call:{first['id'].removeprefix('batch_')}")
    repeat = anna.post("/v1/batches", json=body, headers={"x-stainless-retry-count": "1"}).json
    meant = anna.post("/v1/batches", json=body, headers={"x-stainless-retry-count": "0"}).json
    # A repeat of a call that was refused before it made anything: all others were answered.
    refused = anna.post("/v1/batches", json=body, headers={"x-stainless-retry-count": "1"}).json

    assert repeat["id"] == first["id"]
    assert len({each["id"] for each in (first, meant, refused)}) == 3


def test_a_picture_that_was_deleted_is_left_out_of_the_output(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    batch = run(anna, envelope(1)).json
    draw_all(storage, batch, queue)
    done = anna.get(f"/v1/batches/{batch['id']}").json
    [image] = anna.get("/api/v1/files").json
    anna.delete(f"/api/v1/files/{image['id']}")

    answer = anna.get(f"/v1/files/{done['output_file_id']}/content")

    [line] = [json.loads(each) for each in answer.text.splitlines()]
    assert line["response"]["body"]["data"] == []


def test_what_a_batch_wrote_can_expire_and_be_deleted(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    batch = run(
        anna, envelope(1), output_expires_after={"anchor": "created_at", "seconds": 3600}
    ).json
    draw_all(storage, batch, queue)
    done = anna.get(f"/v1/batches/{batch['id']}").json
    output = anna.get(f"/v1/files/{done['output_file_id']}").json

    assert output["expires_at"] == output["created_at"] + 3600
    assert anna.delete(f"/v1/files/{output['id']}").json["deleted"] is True
    assert anna.get(f"/v1/files/{output['id']}/content").status_code == 404
    assert anna.get(f"/v1/batches/{batch['id']}").json == done


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"endpoint": "/v1/chat/completions"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {str(each): "x" for each in range(17)}}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, None),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_batch_is_refused(anna: Caller, body: dict[str, Any], param: str | None) -> None:
    usual = {"input_file_id": "x", "endpoint": GENERATIONS, "completion_window": "24h"}

    answer = anna.post("/v1/batches", json=usual | body)

    assert answer.status_code == 400
    if param:
        assert answer.json["error"]["param"] == param


def test_uploads_have_a_limit_together(
    make_app: Callable[[Settings], Flask], settings: Settings, anna: Caller
) -> None:
    app = make_app(replace(settings, max_uploads_mb_per_user=1))
    limited = Caller(app.test_client(), anna.headers, anna.user)
    first, _ = (upload(limited, each * 450_000) for each in (b"x", b"y"))

    refused = upload(limited, b"z" * 450_000)

    assert first.status_code == 200
    assert (refused.status_code, refused.json["error"]["param"]) == (400, "file")
    limited.delete(f"/v1/files/{first.json['id']}")
    assert upload(limited, b"z" * 450_000).status_code == 200
