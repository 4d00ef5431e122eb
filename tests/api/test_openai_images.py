"""OpenAI's dialect: pictures asked for, changed, varied, linked to."""

import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from api.openai.links import LASTS_S
from darkroom.domain import Role
from storage import Storage
from tests.api.conftest import Answer, Caller, InlineQueue

VARIATIONS = "/v1/images/variations"


def ask(caller: Caller, headers: dict[str, str] | None = None, **body: Any) -> Answer:
    return caller.post(
        "/v1/images/generations",
        json={"prompt": "a lighthouse", "size": "64x64"} | body,
        headers=headers or {},
    )


def png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def picture(item: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(item["b64_json"])))


def upload(caller: Caller, parts: dict[str, Any], path: str = "/v1/images/edits") -> Answer:
    """A form; bytes are files, a list is several parts of that name."""
    data: dict[str, Any] = {}
    for name, value in parts.items():
        values = value if isinstance(value, list) else [value]
        data[name] = [
            (io.BytesIO(each), "upload", "application/octet-stream")
            if isinstance(each, bytes)
            else each
            for each in values
        ]
    return caller.post(path, data=data, content_type="multipart/form-data")


def test_a_picture_comes_as_base64_with_what_is_known_of_it(anna: Caller) -> None:
    answer = ask(anna, n=2)

    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert set(answer.json) == {"created", "data", "size", "output_format"}
    assert answer.json["size"] == "64x64"
    assert [picture(each).size for each in answer.json["data"]] == [(64, 64)] * 2
    assert answer.headers["x-request-id"]


def test_a_link_works_without_a_header_and_only_as_it_is(anna: Caller) -> None:
    link = ask(anna, response_format="url").json["data"][0]["url"]
    assert link.startswith("http://localhost/v1/images/files/")

    got = anna.nobody.get(link)
    assert got.status_code == 200
    assert got.content_type == "image/png"
    assert Image.open(io.BytesIO(got.data)).size == (64, 64)
    assert anna.nobody.get(link, headers={"If-None-Match": got.headers["ETag"]}).status_code == 304

    other = ask(anna, response_format="url").json["data"][0]["url"]
    for wrong in (
        link[:-1] + ("0" if link[-1] != "0" else "1"),
        link.partition("&")[0],
        link.partition("?")[0],
        link.replace("expires=", "expires=9"),
        other.partition("?")[0] + "?" + link.partition("?")[2],
    ):
        refused = anna.nobody.get(wrong)
        assert refused.status_code == 403, wrong
        assert refused.json["error"]["code"] == "permission_denied"


def test_a_link_expires(anna: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    link = ask(anna, response_format="url").json["data"][0]["url"]
    expires = int(link.partition("expires=")[2].partition("&")[0])
    monkeypatch.setattr("api.openai.links.time.time", lambda: expires + 1.0)

    assert anna.nobody.get(link).status_code == 403
    assert LASTS_S == 3600


def test_a_deleted_picture_is_gone_behind_its_link(anna: Caller) -> None:
    link = ask(anna, response_format="url").json["data"][0]["url"]
    image_id = link.partition("/files/")[2].partition("?")[0]
    anna.delete(f"/api/v1/files/{image_id}")

    gone = anna.nobody.get(link)

    assert gone.status_code == 404
    assert gone.json["error"]["code"] == "not_found"


def test_null_means_absent(anna: Caller) -> None:
    answer = ask(anna, n=None, model=None, quality=None, response_format=None, stream=None)

    assert answer.status_code == 200
    assert "Warning" not in answer.headers


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"colour": "red"}, "colour", "unknown_parameter"),
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"n": "two"}, "n", "invalid_value"),
        ({"n": 99}, "n", "invalid_value"),
        ({"size": "big"}, "size", "invalid_value"),
        ({"response_format": "jpg"}, "response_format", "invalid_value"),
        ({"partial_images": 4}, "partial_images", "invalid_value"),
        ({"style": "vivid", "strict": True}, "style", "unsupported_value"),
    ],
)
def test_a_wrong_field_is_named(anna: Caller, body: Any, param: str, code: str) -> None:
    answer = ask(anna, **body)

    assert answer.status_code == 400
    error = answer.json["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert param in error["message"]


def test_what_is_not_honoured_is_warned_about(anna: Caller) -> None:
    answer = ask(
        anna,
        style="vivid",
        moderation="low",
        output_compression=50,
        complexity="low",
        svg={"model": "x"},
        partial_images=2,
        quality="hd",
        output_format="gif",
    )

    warned = {each.split('"')[1].partition(":")[0] for each in answer.headers.getlist("Warning")}
    assert warned == {
        "style",
        "moderation",
        "output_compression",
        "complexity",
        "svg",
        "partial_images",
        "quality",
        "output_format",
    }


def test_what_asks_for_nothing_is_not_warned_about(anna: Caller) -> None:
    answer = ask(
        anna,
        moderation="auto",
        output_compression=100,
        quality="auto",
        background="auto",
        partial_images=0,
        user="u-1",
        safety_identifier="s-1",
    )

    assert "Warning" not in answer.headers
    job = anna.get(f"/api/v1/jobs/{answer.headers['Darkroom-Job']}").json
    assert job["metadata"] == {"user": "u-1", "safety_identifier": "s-1"}


def test_our_own_fields_are_taken_too(anna: Caller) -> None:
    first, second = (ask(anna, seed=7).json["data"][0]["b64_json"] for _ in range(2))

    assert first == second


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]"])
def test_an_edit_takes_files_under_every_name(anna: Caller, name: str) -> None:
    answer = upload(anna, {"prompt": "a boat", "n": "2", "size": "64x64", name: png()})

    assert answer.status_code == 200, answer.text
    assert len(answer.json["data"]) == 2


def test_a_repeated_image_is_several_and_numbers_order_them(anna: Caller, storage: Storage) -> None:
    repeated = upload(anna, {"prompt": "a boat", "image[]": [png(), png("blue")]})
    numbered = upload(anna, {"prompt": "a boat", "image[1]": png("blue"), "image[0]": png()})

    inputs = [
        storage.jobs.get(each.headers["Darkroom-Job"]).request.images
        for each in (repeated, numbered)
    ]
    assert inputs[0] == inputs[1]
    assert len(inputs[0]) == 2


def test_a_mask_keeps_what_is_opaque(anna: Caller) -> None:
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (32, 0, 64, 64))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")

    answer = upload(anna, {"prompt": "a boat", "image": png(), "mask": buffer.getvalue()})

    changed = picture(answer.json["data"][0]).convert("RGB")
    assert changed.getpixel((2, 32)) == (255, 0, 0)
    assert changed.getpixel((61, 2)) != (255, 0, 0)


def test_an_edit_takes_json_that_links_to_pictures(anna: Caller) -> None:
    link = ask(anna, response_format="url").json["data"][0]["url"]
    file_id = link.partition("/files/")[2].partition("?")[0]

    for image in (
        {"image_url": data_url(png())},
        {"image_url": link},
        {"file_id": file_id},
        {"file_id": f"file-{file_id}"},
    ):
        answer = anna.post("/v1/images/edits", json={"prompt": "a boat", "images": [image]})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("images", "param"),
    [
        (None, "images"),
        ([], "images"),
        ([{}], "images[0]"),
        ([{"image_url": "x", "file_id": "y"}], "images[0].file_id"),
        ([{"file_id": "file-nothing"}], "images[0].file_id"),
        ([{"image_url": "data:image/png;base64,AAAA"}], "image[0]"),
    ],
)
def test_a_wrong_picture_is_named(anna: Caller, images: Any, param: str) -> None:
    answer = anna.post("/v1/images/edits", json={"prompt": "a boat", "images": images})

    assert answer.status_code == 400
    assert answer.json["error"]["param"] == param


def test_an_edit_without_a_picture_says_so(anna: Caller) -> None:
    answer = upload(anna, {"prompt": "a boat"})

    assert answer.status_code == 400
    assert answer.json["error"]["param"] == "image"
    assert answer.json["error"]["code"] == "missing_required_parameter"


def test_a_form_is_read_as_strictly_as_json(anna: Caller) -> None:
    unknown = upload(anna, {"prompt": "a boat", "image": png(), "colour": "red"})
    number = upload(anna, {"prompt": "a boat", "image": png(), "n": "two"})
    nested = upload(anna, {"prompt": "x", "image": png(), "svg[model]": "x", "stream": "false"})
    twice = upload(anna, {"prompt": ["a boat", "a ship"], "image": png()})

    assert unknown.json["error"]["param"] == "colour"
    assert number.json["error"]["param"] == "n"
    assert nested.status_code == 200
    assert "svg" in nested.headers["Warning"]
    assert twice.json["error"]["param"] == "prompt"


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ({"mask": [png(), png("blue")]}, "mask"),
        ({"mask": [png(), "text"]}, "mask"),
        ({"mask": "text"}, "mask"),
        ({"images[0]": "text"}, "images[0]"),
        ({"image[]": "text"}, "image[]"),
        ({"prompt": png()}, "prompt"),
        ({"svg": "x", "svg[model]": "y"}, "svg[model]"),
        ({"a[b": "x"}, "a[b"),
    ],
)
def test_a_form_that_contradicts_itself_is_refused(
    anna: Caller, parts: dict[str, Any], param: str
) -> None:
    answer = upload(anna, {"prompt": "a boat", "image": png()} | parts)

    assert answer.status_code == 400
    assert answer.json["error"]["param"] == param


def test_a_variation_is_an_edit_without_a_prompt(anna: Caller) -> None:
    answer = upload(anna, {"image": png(), "n": "2", "size": "64x64"}, VARIATIONS)
    two = upload(anna, {"image[]": [png(), png()]}, VARIATIONS)

    assert [picture(each).size for each in answer.json["data"]] == [(64, 64)] * 2
    job = anna.get(f"/api/v1/jobs/{answer.headers['Darkroom-Job']}").json
    assert job["operation"] == "edit"
    assert two.status_code == 400
    assert two.json["error"]["param"] == "image"


def test_azure_names_the_model_in_the_path_and_the_key_in_a_header(
    anna: Caller, storage: Storage
) -> None:
    _, key = storage.users.create_key(anna.user.id, name="test")
    path = "/openai/deployments/builtin%2Fplaceholder/images/generations?api-version=2025-04-01"

    answer = anna.nobody.post(
        path, json={"prompt": "a boat", "size": "64x64"}, headers={"api-key": key}
    )
    unknown = anna.nobody.post(
        path.replace("placeholder", "nothing"), json={"prompt": "x"}, headers={"api-key": key}
    )

    assert answer.status_code == 200, answer.text
    assert unknown.status_code == 404
    assert unknown.json["error"]["code"] == "model_not_found"


def test_models_of_every_engine_are_listed(anna: Caller) -> None:
    listed = anna.get("/v1/models").json

    assert listed["object"] == "list"
    [model] = [each for each in listed["data"] if each["id"] == "builtin/placeholder"]
    assert model["object"] == "model"
    assert model["owned_by"] == "builtin"
    assert isinstance(model["created"], int)
    for name in ("builtin/placeholder", "builtin%2Fplaceholder", "placeholder"):
        assert anna.get(f"/v1/models/{name}").json == model
    missing = anna.get("/v1/models/builtin/nothing")
    assert missing.status_code == 404
    assert missing.json["error"]["code"] == "model_not_found"


def test_pictures_need_the_permission(sign_in: Callable[..., Caller]) -> None:
    bert = sign_in("bert@example.org", Role.USER, permissions=())

    assert ask(bert).status_code == 403
    assert ask(bert.nobody).status_code == 401
    assert ask(bert.nobody).json["error"]["code"] == "invalid_api_key"
    assert bert.get("/v1/models").status_code == 200


def test_a_wait_that_ends_asks_for_the_same_call_again(anna: Caller, queue: InlineQueue) -> None:
    queue.is_held = True

    late = ask(anna, {"Idempotency-Key": "k"})
    queue.run(queue.sent[0])
    again = ask(anna, {"Idempotency-Key": "k"})

    assert late.status_code == 504
    assert late.json["error"]["code"] == "timeout"
    assert late.headers["x-should-retry"] == "true"
    assert 0 < int(late.headers["Retry-After"]) <= 5
    assert again.status_code == 200
    assert again.headers["Darkroom-Job"] == late.headers["Darkroom-Job"]
    assert len(queue.sent) == 1
