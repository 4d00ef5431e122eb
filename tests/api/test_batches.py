"""Batches over HTTP: all or nothing goes in, and line by line comes out."""

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from PIL import Image

from darkroom.errors import Unavailable
from darkroom.settings import Settings
from storage import Storage
from tests.api.conftest import Answer, Caller, InlineQueue

NDJSON = "application/x-ndjson"
ERRORS = "errors"


def items(count: int, **rest: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"prompt {number}", "size": "64x64"} | rest for number in range(count)]


def send(caller: Caller, *each: dict[str, Any], **rest: Any) -> Answer:
    return caller.post("/api/v1/batches", json={"items": list(each)} | rest)


def send_lines(caller: Caller, *lines: str, **query: str) -> Answer:
    return caller.post(
        "/api/v1/batches",
        data="\n".join(lines),
        content_type=NDJSON,
        query_string=query,
    )


def results(caller: Caller, batch: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    text = caller.get(batch["results_url"], query_string=query).text
    return [json.loads(line) for line in text.splitlines() if line]


def plant_all(storage: Storage, batch: dict[str, Any], queue: InlineQueue) -> None:
    """What upkeep does, with a worker at hand."""
    while storage.batches.plant(batch["id"]):
        pass
    while taken := storage.backlog.take("builtin", window=100):
        for each in taken:
            queue.send(each)


def test_a_batch_is_accepted_and_drawn(anna: Caller, storage: Storage, queue: InlineQueue) -> None:
    answer = send(anna, *items(3), name="harbours", metadata={"project": 7})
    batch = answer.json
    plant_all(storage, batch, queue)

    assert answer.status_code == 201
    assert answer.headers["Location"] == batch["url"] == f"/api/v1/batches/{batch['id']}"
    assert (batch["name"], batch["metadata"]) == ("harbours", {"project": 7})
    now = anna.get(batch["url"]).json
    assert now["status"] == "finished"
    assert now["counts"] == {
        "total": 3,
        "queued": 0,
        "running": 0,
        "succeeded": 3,
        "failed": 0,
        "canceled": 0,
    }
    assert now["progress"] == 1
    assert now["finished_at"] >= now["created_at"]


def test_results_name_the_item_and_its_pictures(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    batch = send(
        anna, *items(2, n=2, metadata={"chat_id": "c"}), {"prompt": "x", "custom_id": "mine"}
    ).json
    plant_all(storage, batch, queue)

    found = results(anna, batch)

    assert [each["custom_id"] for each in found] == ["line-1", "line-2", "mine"]
    assert [each["line"] for each in found] == [1, 2, 3]
    assert [len(each["images"]) for each in found] == [2, 2, 1]
    assert found[0]["prompt"] == "prompt 0"
    assert found[0]["metadata"] == {"chat_id": "c"}
    assert anna.get(found[0]["images"][0]["url"]).mimetype == "image/png"
    assert anna.get(found[0]["job"]).json["custom_id"] == "line-1"
    assert anna.get(found[0]["job"]).json["batch_id"] == batch["id"]


def test_lines_of_json_are_a_batch(anna: Caller, storage: Storage, queue: InlineQueue) -> None:
    answer = send_lines(
        anna,
        '{"prompt": "one"}',
        "",
        '{"prompt": "two", "size": "128x64"}',
        defaults='{"size": "64x64"}',
        name="lines",
        metadata='{"a": 1}',
    )
    plant_all(storage, answer.json, queue)

    assert answer.status_code == 201, answer.text
    assert (answer.json["name"], answer.json["metadata"]) == ("lines", {"a": 1})
    found = results(anna, answer.json)
    assert [each["line"] for each in found] == [1, 3]
    assert [each["images"][0]["width"] for each in found] == [64, 128]


def test_everything_that_is_wrong_is_said_at_once_with_its_line(
    anna: Caller, storage: Storage
) -> None:
    answer = send_lines(
        anna,
        '{"prompt": "good"}',
        '{"prompt": "bad", "size": "huge", "n": 0}',
        '{"prompt": ',
        "[]",
        '{"prompt": "x", "model": "nobody/knows"}',
        '{"prompt": "x", "lane": "interactive"}',
        '{"prompt": "x", "n": 11}',
        '{"prompt": "x", "custom_id": 5}',
        '{"prompt": "x", "quality": "hd", "strict": true}',
    )

    assert answer.status_code == 400
    problem = answer.json
    assert problem["code"] == "request_invalid"
    assert problem["error_count"] == len(problem[ERRORS]) == 9
    assert [(each["line"], each["param"]) for each in problem[ERRORS]] == [
        (2, "size"),
        (2, "n"),
        (3, "body"),
        (4, "body"),
        (5, "model"),
        (6, "lane"),
        (7, "n"),
        (8, "custom_id"),
        (9, "quality"),
    ]
    assert [each["code"] for each in problem[ERRORS] if each["line"] in (5, 9)] == [
        "model_not_found",
        "parameter_unsupported",
    ]
    assert "Line 2" in problem["detail"]
    assert "Nothing was accepted" in problem["detail"]
    assert storage.batches.list() == []
    assert storage.jobs.list() == []


def test_of_many_problems_the_first_thousand_are_listed(anna: Caller) -> None:
    problem = send_lines(anna, *['{"prompt": "x", "n": 0}'] * 1200).json

    assert problem["error_count"] == 1200
    assert len(problem[ERRORS]) == 1000


@pytest.mark.parametrize(
    ("rest", "param"),
    [
        ({"items": []}, "items"),
        ({"items": [{"prompt": "x"}], "defaults": {"custom_id": "x"}}, "defaults.custom_id"),
        ({"items": [{"prompt": "x"}], "expand": {"seed": []}}, "expand.seed"),
        ({"items": [{"prompt": "x"}], "expand": {"seed": {"count": 0}}}, "expand.seed"),
        ({"items": [{"prompt": "x"}], "expand": {"custom_id": ["a"]}}, "expand.custom_id"),
        ({"items": [{"prompt": "x"}], "metadata": {"long": "x" * 20_000}}, "metadata"),
        ({"items": [{"prompt": "x"}], "color": "red"}, "color"),
        ({}, "items"),
    ],
)
def test_what_holds_for_all_items_is_checked(
    anna: Caller, rest: dict[str, Any], param: str
) -> None:
    answer = anna.post("/api/v1/batches", json=rest)

    assert (answer.status_code, answer.json["param"]) == (400, param)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"defaults": "{"}, "defaults"),
        ({"defaults": "[]"}, "defaults"),
        ({"expand": '{"n": 5}'}, "expand.n"),
        ({"metadata": "null", "colour": "1"}, "colour"),
    ],
)
def test_what_comes_beside_lines_is_checked(
    anna: Caller, query: dict[str, str], param: str
) -> None:
    answer = send_lines(anna, '{"prompt": "x"}', **query)

    assert (answer.status_code, answer.json["param"]) == (400, param)


def test_a_query_does_not_go_with_a_json_body(anna: Caller) -> None:
    answer = anna.post(
        "/api/v1/batches", json={"items": items(1)}, query_string={"name": "harbours"}
    )

    assert (answer.status_code, answer.json["param"]) == (400, "name")


def test_names_of_items_are_unique(anna: Caller) -> None:
    answer = send(anna, {"prompt": "x", "custom_id": "a"}, {"prompt": "y", "custom_id": "a"})

    assert answer.status_code == 400
    assert answer.json[ERRORS][0] | {"detail": ""} == {
        "line": 2,
        "param": "custom_id",
        "detail": "",
        "code": "duplicate_custom_id",
    }


def test_a_matrix_makes_an_item_of_every_combination(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    batch = send(
        anna,
        {"prompt": "x", "custom_id": "a"},
        {"prompt": "y", "expand": {"n": [1, 2]}},
        expand={"seed": {"count": 2, "start": 5}, "size": ["64x64", "96x64"]},
    ).json
    plant_all(storage, batch, queue)

    found = {each["custom_id"]: each["images"] for each in results(anna, batch)}

    assert [(name, images[0]["seed"], images[0]["width"]) for name, images in found.items()][
        :4
    ] == [
        ("a/1", 5, 64),
        ("a/2", 5, 96),
        ("a/3", 6, 64),
        ("a/4", 6, 96),
    ]
    assert {name: len(images) for name, images in list(found.items())[4:]} == {
        "line-2/1": 1,
        "line-2/2": 2,
    }


def test_a_batch_has_an_end(anna: Caller) -> None:
    answer = send(anna, {"prompt": "x"}, {"prompt": "y", "expand": {"seed": {"count": 50_000}}})

    assert answer.status_code == 400
    assert answer.json[ERRORS][0]["line"] == 2
    assert "50,000" in answer.json["detail"]


def test_more_than_a_user_may_have_waiting_is_refused(
    make_app: Callable[[Settings], Flask], settings: Settings, anna: Caller, queue: InlineQueue
) -> None:
    queue.is_held = True
    few = replace(settings, max_queued_per_user=3)
    limited = Caller(make_app(few).test_client(), anna.headers, anna.user)
    send(limited, *items(2))

    answer = send(limited, *items(2))

    assert answer.status_code == 429
    assert answer.headers["Retry-After"]
    # Waiting would not help.
    assert send(limited, *items(4)).status_code == 400
    assert send(limited, *items(1)).status_code == 201
    assert limited.generate(headers={"Prefer": "respond-async"}).status_code == 202


def test_a_repeated_call_is_the_same_batch(anna: Caller, queue: InlineQueue) -> None:
    queue.is_held = True
    key = {"Idempotency-Key": "k"}
    body = {"items": items(2)}

    first = anna.post("/api/v1/batches", json=body, headers=key)
    again = anna.post("/api/v1/batches", json=body, headers=key)
    other = anna.post("/api/v1/batches", json={"items": items(3)}, headers=key)

    assert first.json["id"] == again.json["id"]
    assert len(anna.get("/api/v1/batches").json) == 1
    assert (other.status_code, other.json["code"]) == (422, "idempotency_conflict")


def test_repeated_lines_are_the_same_batch(anna: Caller, queue: InlineQueue) -> None:
    queue.is_held = True

    def repeat(text: str, **query: str) -> Answer:
        return anna.post(
            "/api/v1/batches",
            data=text,
            content_type=NDJSON,
            query_string=query,
            headers={"Idempotency-Key": "k"},
        )

    first = repeat('{"prompt": "x"}', name="a")

    assert repeat('{"prompt": "x"}', name="a").json["id"] == first.json["id"]
    assert repeat('{"prompt": "x"}', name="b").status_code == 422
    assert repeat('{"prompt": "y"}', name="a").status_code == 422


def test_a_body_over_the_limit_is_refused(
    make_app: Callable[[Settings], Flask], settings: Settings, anna: Caller
) -> None:
    small = replace(settings, max_body_mb=1, max_batch_mb=2)
    limited = Caller(make_app(small).test_client(), anna.headers, anna.user)
    line = json.dumps({"prompt": "x", "negative_prompt": "y" * 20_000})

    assert send_lines(limited, *[line] * 80).status_code == 201
    assert send_lines(limited, *[line] * 120).status_code == 413
    too_long = send_lines(limited, json.dumps({"prompt": "x" * 2**20}))
    assert too_long.status_code == 413
    assert "Line 1" in too_long.json["detail"]


def test_another_kind_of_body_is_refused(anna: Caller) -> None:
    answer = anna.post("/api/v1/batches", data="prompt", content_type="text/plain")

    assert answer.status_code == 415


def test_batches_are_their_owners(anna: Caller, admin: Caller, sign_in: Any) -> None:
    bo = sign_in("bo@example.org")
    batch = send(anna, *items(1)).json

    for path in ("", "/results", "/images.zip"):
        assert bo.get(batch["url"] + path).status_code == 404
        assert admin.get(batch["url"] + path).status_code == 200
        assert anna.nobody.get(batch["url"] + path).status_code == 401
    for path in ("/cancel", "/retry"):
        assert bo.post(batch["url"] + path).status_code == 404
    assert bo.get("/api/v1/batches").json == []
    assert [each["id"] for each in admin.get("/api/v1/batches?all=true").json] == [batch["id"]]
    assert sign_in("eve@example.org", permissions=()).post("/api/v1/batches").status_code == 403


def test_lists_continue_behind_an_entry_and_end(anna: Caller) -> None:
    ids = [send(anna, *items(1)).json["id"] for _ in range(3)][::-1]

    first = anna.get("/api/v1/batches?limit=2").json
    rest = anna.get(f"/api/v1/batches?limit=2&after={first[-1]['id']}").json

    assert [each["id"] for each in first + rest] == ids
    assert anna.get(f"/api/v1/batches?after={rest[-1]['id']}").json == []


def test_jobs_of_a_batch_are_listed(anna: Caller) -> None:
    batch = send(anna, *items(3)).json
    anna.generate()

    found = anna.get("/api/v1/jobs", query_string={"batch": batch["id"]}).json

    assert [each["custom_id"] for each in found] == ["line-3", "line-2", "line-1"]


def test_a_canceled_batch_tells_of_every_item(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    queue.is_held = True
    batch = send(anna, *items(300)).json

    canceled = anna.post(f"{batch['url']}/cancel").json

    assert canceled["status"] == "canceled"
    assert canceled["counts"]["canceled"] == 300
    assert canceled["finished_at"] >= canceled["cancel_requested_at"]
    found = results(anna, batch)
    assert sorted(each["line"] for each in found) == list(range(1, 301))
    assert {each["status"] for each in found} == {"canceled"}
    assert found[-1]["job"] is None
    assert anna.get(found[0]["job"]).json["status"] == "canceled"


def test_what_failed_is_retried_as_a_new_batch(
    make_app: Callable[[Settings], Flask],
    settings: Settings,
    anna: Caller,
    storage: Storage,
    queue: InlineQueue,
) -> None:
    scripted = replace(settings, builtin_script=True)
    queue.settings = scripted
    caller = Caller(make_app(scripted).test_client(), anna.headers, anna.user)
    batch = send(
        caller,
        {"prompt": "good", "size": "64x64"},
        {"prompt": "[fault=ContentRefused] bad", "size": "64x64", "custom_id": "bad"},
    ).json
    plant_all(storage, batch, queue)
    assert caller.get(batch["url"]).json["counts"]["failed"] == 1

    answer = caller.post(f"{batch['url']}/retry")
    plant_all(storage, answer.json, queue)

    assert answer.status_code == 201, answer.text
    assert answer.json["retry_of"] == batch["id"]
    [result] = results(caller, answer.json)
    assert (result["custom_id"], result["line"]) == ("bad", 2)
    assert result["error"]["code"] == "content_refused"


def test_a_batch_without_failures_cannot_be_retried(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    queue.is_held = True
    batch = send(anna, *items(1)).json
    while_it_runs = anna.post(f"{batch['url']}/retry")
    queue.is_held = False
    storage.backlog.put_back([each.id for each in queue.sent])
    plant_all(storage, batch, queue)

    assert while_it_runs.status_code == 409
    assert anna.post(f"{batch['url']}/retry").status_code == 409


def test_canceled_items_are_retried_too(anna: Caller, storage: Storage, queue: InlineQueue) -> None:
    queue.is_held = True
    batch = send(anna, *items(300)).json
    anna.post(f"{batch['url']}/cancel")
    queue.is_held = False

    again = anna.post(f"{batch['url']}/retry").json
    plant_all(storage, again, queue)

    assert anna.get(again["url"]).json["counts"]["succeeded"] == 300
    lines = {each["line"]: each["prompt"] for each in results(anna, again)}
    assert lines == {number + 1: f"prompt {number}" for number in range(300)}


def test_the_archive_has_every_picture_and_says_what_is_what(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    batch = send(anna, {"prompt": "x", "custom_id": "../a b", "size": "64x64"}, *items(1, n=2)).json
    plant_all(storage, batch, queue)

    answer = anna.get(batch["archive_url"])

    assert answer.mimetype == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        names = ["00001-a-b.png", "00002-line-2-1.png", "00002-line-2-2.png"]
        assert archive.namelist() == [*names, "manifest.jsonl"]
        for name in names:
            Image.open(io.BytesIO(archive.read(name))).verify()
        manifest = [json.loads(line) for line in archive.read("manifest.jsonl").splitlines()]
    assert [each["files"] for each in manifest] == [names[:1], names[1:]]
    assert manifest[0]["custom_id"] == "../a b"


def test_a_picture_that_was_deleted_is_missing_from_the_archive(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    batch = send(anna, *items(2)).json
    plant_all(storage, batch, queue)
    [first, _] = results(anna, batch)
    anna.delete(f"/api/v1/files/{first['images'][0]['id']}")

    with zipfile.ZipFile(io.BytesIO(anna.get(batch["archive_url"]).data)) as archive:
        assert archive.namelist() == ["00002-line-2.png", "manifest.jsonl"]


def test_edits_are_items_too_and_their_picture_is_kept_once(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    picture = anna.generate().json[0]["id"]
    batch = send(
        anna,
        *[{"prompt": f"add boat {number}", "image": picture} for number in range(3)],
        {"prompt": "no picture"},
    ).json
    plant_all(storage, batch, queue)

    assert anna.get(batch["url"]).json["counts"]["succeeded"] == 4
    operations = [anna.get(each["job"]).json["operation"] for each in results(anna, batch)]
    assert operations == ["edit", "edit", "edit", "generate"]


def test_a_picture_that_cannot_be_read_is_named_by_its_line(anna: Caller, storage: Storage) -> None:
    answer = send(anna, {"prompt": "x"}, {"prompt": "y", "image": "data:image/png;base64,AAAA"})

    assert answer.status_code == 400
    assert [(each["line"], each["param"]) for each in answer.json[ERRORS]] == [(2, "image.0")]
    assert storage.batches.list() == []


def test_a_batch_may_link_to_few_pictures(anna: Caller) -> None:
    links = [{"prompt": "x", "image": f"http://127.0.0.1:9/{each}.png"} for each in range(102)]

    problem = send(anna, *links).json

    assert problem["error_count"] == 102
    assert "base64" in problem[ERRORS][-1]["detail"]


def test_only_the_links_that_are_too_many_are_refused(anna: Caller) -> None:
    links = [{"prompt": "x", "image": f"http://127.0.0.1:9/{each}.png"} for each in range(101)]

    problem = send(anna, *links, {"prompt": "x", "image": "data:image/png;base64,AAAA"}).json

    assert "base64" in problem[ERRORS][100]["detail"]
    assert "links" not in problem[ERRORS][101]["detail"]


def test_results_can_be_followed_to_the_end(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    queue.is_held = True
    batch = send(anna, *items(2)).json
    first, second = (each.id for each in queue.sent)
    storage.jobs.request_cancel(first)

    with anna.follow(f"{batch['results_url']}?follow=true") as answer:
        lines = (json.loads(line) for line in answer.iter_encoded() if line.strip())
        one = next(lines)
        storage.jobs.request_cancel(second)
        rest = list(lines)

    assert [one["line"], *(each["line"] for each in rest)] == [1, 2]


@pytest.mark.parametrize("count", [50_001, 20_000_000, 2**53 - 1, 2**70])
def test_a_matrix_too_large_for_memory_is_refused_at_once(anna: Caller, count: int) -> None:
    for expand in ({"seed": {"count": count}}, {"seed": {"count": 50_000}, "n": [1, 2]}):
        answer = anna.post("/api/v1/batches", json={"items": items(1), "expand": expand})
        assert (answer.status_code, answer.json["param"].partition(".")[0]) == (400, "expand")


def test_null_among_values_means_absent(anna: Caller, storage: Storage, queue: InlineQueue) -> None:
    batch = send(anna, {"prompt": "x", "size": "64x64", "expand": {"seed": [None, 7]}}).json
    plant_all(storage, batch, queue)

    first, second = results(anna, batch)

    assert anna.get(second["job"]).json["seed"] == 7
    assert anna.get(first["job"]).json["seed"] is None


@pytest.mark.parametrize("name", ["defaults", "expand", "metadata"])
def test_json_that_nests_too_deeply_is_refused(anna: Caller, name: str) -> None:
    deep = "[" * 300 + "]" * 300

    answer = send_lines(anna, '{"prompt": "x"}', **{name: f'{{"a": {deep}}}'})

    assert (answer.status_code, answer.json["param"]) == (400, name)


def test_what_is_accepted_is_said_to_be_when_the_database_goes_away(
    anna: Caller, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(storage.batches, "plant", away)
    monkeypatch.setattr(storage.batches, "counts", away)

    answer = send(anna, *items(2))

    assert answer.status_code == 201
    assert answer.json["counts"]["queued"] == 2
    assert len(storage.batches.list()) == 1


def test_a_follower_misses_nothing_when_the_database_goes_away(
    anna: Caller, storage: Storage, queue: InlineQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = send(anna, *items(3)).json
    plant_all(storage, batch, queue)
    of_jobs = storage.images.of_jobs
    calls = []

    def once_away(job_ids: Any) -> Any:
        calls.append(job_ids)
        if len(calls) == 1:
            raise Unavailable("The database does not answer.")
        return of_jobs(job_ids)

    monkeypatch.setattr(storage.images, "of_jobs", once_away)

    found = results(anna, batch, follow="true")

    assert [each["line"] for each in found] == [1, 2, 3]
    assert len(calls) == 2


def test_canceled_items_are_retried_without_their_old_deadline(
    anna: Caller, storage: Storage, queue: InlineQueue
) -> None:
    queue.is_held = True
    batch = send(anna, *items(300), defaults={"deadline_s": 60}).json
    anna.post(f"{batch['url']}/cancel")

    again = anna.post(f"{batch['url']}/retry").json
    plant_all(storage, again, queue)

    jobs = anna.get(f"/api/v1/jobs?batch={again['id']}&limit=500").json
    assert [each["deadline"] for each in jobs] == [None] * 300


def test_a_retry_by_an_admin_counts_for_the_owner(
    make_app: Callable[[Settings], Flask],
    settings: Settings,
    anna: Caller,
    admin: Caller,
    queue: InlineQueue,
) -> None:
    queue.is_held = True
    few = make_app(replace(settings, max_queued_per_user=3)).test_client()
    owner, helper = (Caller(few, each.headers, each.user) for each in (anna, admin))
    batch = send(owner, *items(2)).json
    owner.post(f"{batch['url']}/cancel")
    send(owner, *items(2))

    assert helper.post(f"{batch['url']}/retry").status_code == 429


@pytest.mark.timeout(60)
def test_pictures_that_are_sent_along_do_not_pile_up_in_memory(
    make_app: Callable[[Settings], Flask], settings: Settings, anna: Caller
) -> None:
    few = make_app(replace(settings, max_batch_mb=64))
    caller = Caller(few.test_client(), anna.headers, anna.user)
    # Each is a text of its own, and none is a picture.
    texts = (f"data:image/png;base64,{number:08}{'A' * 400_000}" for number in range(120))
    lines = b"".join(json.dumps({"prompt": "x", "image": each}).encode() + b"\n" for each in texts)

    tracemalloc.start()
    answer = caller.post("/api/v1/batches", input_stream=io.BytesIO(lines), content_type=NDJSON)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert answer.json["error_count"] == 120
    assert peak_bytes < len(lines) / 2
