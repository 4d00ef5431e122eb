"""Changing pictures: in whatever form they come, and never somebody else's."""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import SplitResult, urlsplit

import pytest
from flask import Flask
from PIL import Image

from api import inputs
from darkroom.domain import JobStatus
from darkroom.settings import Settings
from storage import Storage
from tests.api.conftest import Answer, Caller, InlineQueue
from tests.engines.servers.stand_in import Call, Handler, StandIn
from tests.storage.builders import with_times

RED, GREEN = (255, 0, 0), (0, 160, 0)


def picture(
    color: tuple[int, ...] = RED,
    *,
    size: tuple[int, int] = (96, 64),
    kind: str = "PNG",
    orientation: int | None = None,
) -> bytes:
    image = Image.new("RGB" if len(color) == 3 else "RGBA", size, color)
    exif = image.getexif()
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def half_mask(size: tuple[int, int] = (96, 64)) -> bytes:
    """Repaints the left half."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{encoded(data)}"


def edit(caller: Caller, image: object, **body: Any) -> Answer:
    return caller.post("/api/images/edit", json={"prompt": "add a boat", "image": image} | body)


def drawn(caller: Caller, answer: Answer) -> Image.Image:
    """The first picture of an answer, as it downloads."""
    assert answer.status_code == 200, answer.json
    content = caller.get(answer.json[0]["url"])
    return Image.open(io.BytesIO(content.data)).convert("RGB")


def is_reddish(pixel: object) -> bool:
    assert isinstance(pixel, tuple)
    return bool(pixel[0] > pixel[1] + 60)


def own_file(caller: Caller) -> str:
    """The id of a picture the caller had made."""
    return str(caller.generate().json[0]["id"])


@pytest.mark.parametrize(
    "form", [data_url, encoded, lambda data: "\n".join([encoded(data)[:40], encoded(data)[40:]])]
)
def test_a_picture_is_changed_in_whatever_form_it_comes(
    anna: Caller, form: Callable[[bytes], str]
) -> None:
    result = drawn(anna, edit(anna, form(picture())))

    assert result.size == (96, 64)
    assert is_reddish(result.getpixel((90, 4)))


@pytest.mark.parametrize(
    "form",
    [
        "{id}",
        "/api/v1/files/{id}/content",
        "http://localhost/api/v1/files/{id}/content",
        "/api/v1/files/{id}",
    ],
)
def test_an_own_picture_is_named_by_id_or_url(anna: Caller, form: str) -> None:
    image = form.format(id=own_file(anna))

    assert drawn(anna, edit(anna, image)).size == (64, 64)


def test_somebody_elses_picture_is_not_there(
    anna: Caller, sign_in: Callable[..., Caller], queue: InlineQueue
) -> None:
    theirs = own_file(sign_in("bo@example.org"))
    sent = len(queue.sent)

    answer = edit(anna, theirs)

    assert (answer.status_code, answer.json["param"]) == (400, "image.0")
    assert "There is no file" in answer.json["detail"]
    assert len(queue.sent) == sent


def test_where_the_mask_is_black_the_picture_stays_as_it_is(anna: Caller) -> None:
    result = drawn(anna, edit(anna, data_url(picture()), mask=data_url(half_mask())))

    assert result.getpixel((90, 30)) == RED
    assert result.getpixel((10, 2)) != RED


def test_a_transparent_mask_repaints_where_it_is_transparent(anna: Caller) -> None:
    mask = Image.new("RGBA", (96, 64), (255, 255, 255, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 48, 64))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")

    result = drawn(anna, edit(anna, data_url(picture()), mask=data_url(buffer.getvalue())))

    assert result.getpixel((90, 30)) == RED
    assert result.getpixel((10, 2)) != RED


def test_a_picture_taken_sideways_is_turned_upright(anna: Caller) -> None:
    sideways = picture(kind="JPEG", size=(96, 64), orientation=6)

    assert drawn(anna, edit(anna, data_url(sideways, "jpeg"))).size == (64, 96)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("not base64!", "data URL, base64"),
        (encoded(b"hello there, this is text"), "no PNG, JPEG, WebP or GIF"),
        (encoded(picture()[:60]), "picture"),
        ("data:image/png,AAAA", "must be base64"),
        ("data:image/png;base64,", "empty"),
        ("00000000-0000-4000-8000-000000000000", "There is no file"),
        ("http://127.0.0.1:9/a.png", "not a public one"),
        ("ftp://example.org/a.png", "data URL, base64"),
        ("http://[::1", "no URL"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(
    anna: Caller, queue: InlineQueue, image: str, words: str
) -> None:
    answer = edit(anna, [data_url(picture()), image])

    assert (answer.status_code, answer.json["param"]) == (400, "image.1")
    assert words in answer.json["detail"]
    assert queue.sent == []


@pytest.mark.parametrize(
    ("image", "param"), [(None, "image"), ([], "image"), ([""], "image.0"), (5, "image.0")]
)
def test_a_picture_must_be_given(anna: Caller, image: object, param: str) -> None:
    answer = edit(anna, image)

    assert (answer.status_code, answer.json["param"]) == (400, param)


def test_a_picture_of_absurd_size_is_refused_before_it_is_decoded(anna: Caller) -> None:
    bomb = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(bomb, "PNG")

    answer = edit(anna, encoded(bomb.getvalue()))

    assert answer.status_code == 400
    assert "64,000,000" in answer.json["detail"]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (half_mask((32, 32)), "32x32, but the first picture is 96x64"),
        (picture((0, 0, 0)), "marks nothing"),
        (b"nothing", "no PNG"),
    ],
)
def test_a_mask_that_cannot_work_is_refused(anna: Caller, mask: bytes, words: str) -> None:
    answer = edit(anna, data_url(picture()), mask=encoded(mask))

    assert (answer.status_code, answer.json["param"]) == (400, "mask")
    assert words in answer.json["detail"]


def test_without_an_engine_that_edits_the_answer_says_so(
    make_app: Callable[[Settings], Flask], settings: Settings, anna: Caller
) -> None:
    anna.client = make_app(replace(settings, enable_builtin=False)).test_client()

    answer = edit(anna, data_url(picture()))

    assert answer.status_code == 400
    assert "No enabled engine can edit" in answer.json["detail"]


class Pictures(Handler):
    """Answers every call with a red picture."""

    def answer(self, call: Call) -> None:
        self.reply(200, picture(), "image/png")


@pytest.fixture
def linked(
    make_app: Callable[[Settings], Flask], settings: Settings, anna: Caller
) -> Iterator[StandIn]:
    """A server of pictures that Anna may link to."""
    anna.client = make_app(replace(settings, fetch_private_hosts=True)).test_client()
    with StandIn(Pictures) as server:
        yield server


def test_nothing_is_fetched_for_a_request_that_is_refused_anyway(
    anna: Caller, linked: StandIn
) -> None:
    answers = [
        edit(anna, f"{linked.origin}/red.png", **wrong)
        for wrong in ({"model": "nobody/has-it"}, {"n": 11}, {"strict": True, "quality": "high"})
    ]

    assert [each.status_code for each in answers] == [400] * 3
    assert linked.calls == []


def test_nothing_is_fetched_for_a_queue_that_is_full(
    make_app: Callable[[Settings], Flask],
    settings: Settings,
    anna: Caller,
    linked: StandIn,
    queue: InlineQueue,
) -> None:
    queue.is_held = True
    full = replace(settings, fetch_private_hosts=True, max_queued_per_user=1)
    anna.client = make_app(full).test_client()
    anna.generate(headers={"Prefer": "respond-async"})

    assert edit(anna, f"{linked.origin}/red.png").status_code == 429
    assert linked.calls == []


def test_all_pictures_of_a_call_together_have_a_limit(
    anna: Caller, queue: InlineQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MAX_TOTAL_BYTES", 2 * len(picture()))

    answer = edit(anna, [data_url(picture())] * 3)

    assert (answer.status_code, answer.json["param"]) == (400, "image.2")
    assert "together" in answer.json["detail"]
    assert queue.sent == []


def test_a_picture_in_base64_is_not_taken_for_a_url(
    anna: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python keeps the last URLs it took apart, however long: that would fill the memory."""
    noise = io.BytesIO()
    Image.effect_noise((200, 200), 90).save(noise, "PNG")
    seen: list[str] = []

    def split(text: str) -> SplitResult:
        seen.append(text)
        return urlsplit(text)

    monkeypatch.setattr(inputs, "urlsplit", split)

    assert edit(anna, encoded(noise.getvalue())).status_code == 200
    assert seen == []


def test_as_large_as_the_picture_unless_a_size_is_asked_for(anna: Caller, admin: Caller) -> None:
    assert drawn(anna, edit(anna, data_url(picture()))).size == (96, 64)
    assert drawn(anna, edit(anna, data_url(picture()), size="80x80")).size == (80, 80)

    admin.post("/api/images/config/update", json={"IMAGE_EDIT_SIZE": "128x128"})

    assert drawn(anna, edit(anna, data_url(picture()))).size == (128, 128)


def test_a_photo_with_a_second_picture_behind_it_can_be_changed(anna: Caller) -> None:
    buffer = io.BytesIO()
    image = Image.new("RGB", (96, 64), RED)
    image.save(buffer, "MPO", save_all=True, append_images=[image])

    assert drawn(anna, edit(anna, data_url(buffer.getvalue(), "jpeg"))).size == (96, 64)


def test_the_same_picture_sent_many_times_is_kept_once(
    anna: Caller, queue: InlineQueue, storage: Storage
) -> None:
    queue.is_held = True

    for _ in range(20):
        body = {"prompt": "add a boat", "image": data_url(picture())}
        anna.post("/api/images/edit", json=body, headers={"Prefer": "respond-async"})

    assert len(storage.files.keys()) == 1


def test_a_linked_picture_is_fetched_where_the_admin_allows_its_host(
    anna: Caller, linked: StandIn
) -> None:
    result = drawn(anna, edit(anna, f"{linked.origin}/red.png"))

    assert result.size == (96, 64)
    assert "authorization" not in linked.calls[0].headers


def test_a_repeat_with_the_same_key_is_the_same_job(anna: Caller, queue: InlineQueue) -> None:
    headers = {"Idempotency-Key": "k1"}
    body = {"prompt": "add a boat", "image": data_url(picture())}

    first, second = (anna.post("/api/images/edit", json=body, headers=headers) for _ in range(2))

    assert first.json == second.json
    assert len(queue.sent) == 1


def test_inputs_are_no_pictures_of_the_gallery(anna: Caller) -> None:
    edit(anna, data_url(picture(GREEN)))

    assert len(anna.get("/api/v1/files/").json) == 1


def test_a_canceled_edit_is_retried_with_its_pictures(
    anna: Caller, queue: InlineQueue, storage: Storage
) -> None:
    queue.is_held = True
    body = {"prompt": "add a boat", "image": data_url(picture()), "mask": data_url(half_mask())}
    job_id = anna.post("/api/images/edit", json=body, headers={"Prefer": "respond-async"}).json[
        "id"
    ]
    anna.post(f"/api/v1/jobs/{job_id}/cancel")
    queue.is_held = False

    answer = anna.post(f"/api/v1/jobs/{job_id}/retry", headers={"Prefer": "wait=2"})

    assert drawn(anna, answer).getpixel((90, 30)) == RED


def test_an_edit_whose_pictures_are_gone_cannot_be_retried(
    anna: Caller, queue: InlineQueue, storage: Storage
) -> None:
    queue.is_held = True
    job_id = anna.post(
        "/api/images/edit",
        json={"prompt": "add a boat", "image": data_url(picture())},
        headers={"Prefer": "respond-async"},
    ).json["id"]
    anna.post(f"/api/v1/jobs/{job_id}/cancel")
    job = storage.jobs.get(job_id)
    assert job.status is JobStatus.CANCELED
    with_times(storage, job, finished_at=1.0)
    storage.inputs.release()

    answer = anna.post(f"/api/v1/jobs/{job_id}/retry")

    assert answer.status_code == 409
    assert "send the request again" in answer.json["detail"]
