"""Stored pictures: whose they are, and how their bytes are served."""

import io
from collections.abc import Callable

import pytest
from PIL import Image

from storage import Storage
from tests.api.conftest import Caller


@pytest.fixture
def picture(anna: Caller) -> dict[str, str]:
    """A picture of Anna's, 640 pixels wide."""
    made: dict[str, str] = anna.generate(size="640x320").json[0]
    return made


def test_nobody_but_the_owner_and_admins_sees_a_picture(
    anna: Caller, admin: Caller, sign_in: Callable[..., Caller], picture: dict[str, str]
) -> None:
    stranger = sign_in("bo@example.org")
    about = f"/api/v1/files/{picture['id']}"

    for path in (about, picture["url"]):
        assert anna.get(path).status_code == 200
        assert admin.get(path).status_code == 200
        assert stranger.get(path).status_code == 404
        assert anna.nobody.get(path).status_code == 401
    assert stranger.delete(about).status_code == 404
    assert stranger.get("/api/v1/files/").json == []
    assert stranger.get("/api/v1/jobs/").json == []
    assert len(admin.get("/api/v1/files/?all=true").json) == 1


def test_content_may_be_kept_and_is_not_sent_twice(anna: Caller, picture: dict[str, str]) -> None:
    first = anna.get(picture["url"])
    again = anna.get(picture["url"], headers={"If-None-Match": first.headers["ETag"]})

    assert first.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in first.headers["Cache-Control"]
    assert "private" in first.headers["Cache-Control"]
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("bytes=0-9", slice(0, 10)), ("bytes=10-", slice(10, None)), ("bytes=-5", slice(-5, None))],
)
def test_a_part_of_the_content_can_be_asked_for(
    anna: Caller, picture: dict[str, str], asked: str, expected: slice
) -> None:
    whole = anna.get(picture["url"]).data

    part = anna.get(picture["url"], headers={"Range": asked})

    assert part.status_code == 206
    assert part.data == whole[expected]
    assert part.headers["Content-Range"].endswith(f"/{len(whole)}")


def test_a_part_that_is_not_there_is_416(anna: Caller, picture: dict[str, str]) -> None:
    answer = anna.get(picture["url"], headers={"Range": "bytes=99999999-"})

    assert (answer.status_code, answer.json["code"]) == (416, "range_not_satisfiable")


@pytest.mark.parametrize("asked", ["lines=0-9", "bytes=0-1,4-5", "bytes=9-0", "everything"])
def test_a_range_that_is_none_of_ours_is_ignored(
    anna: Caller, picture: dict[str, str], asked: str
) -> None:
    answer = anna.get(picture["url"], headers={"Range": asked})

    assert answer.status_code == 200
    assert answer.data == anna.get(picture["url"]).data


def test_conditions_come_before_the_range(anna: Caller, picture: dict[str, str]) -> None:
    tag = anna.get(picture["url"]).headers["ETag"]

    had = anna.get(picture["url"], headers={"Range": "bytes=0-9", "If-None-Match": tag})
    same = anna.get(picture["url"], headers={"Range": "bytes=0-9", "If-Match": tag})
    other = anna.get(picture["url"], headers={"Range": "bytes=0-9", "If-Match": '"other"'})

    assert (had.status_code, same.status_code, other.status_code) == (304, 206, 412)
    assert other.content_type == "application/problem+json"
    assert other.json["code"] == "precondition_failed"


def test_a_thumbnail_is_as_wide_as_asked_or_a_little_wider(
    anna: Caller, picture: dict[str, str]
) -> None:
    answer = anna.get(f"{picture['url']}?w=100")

    assert answer.content_type == "image/webp"
    assert Image.open(io.BytesIO(answer.data)).size == (128, 64)
    assert answer.headers["ETag"] != anna.get(picture["url"]).headers["ETag"]


def test_a_thumbnail_wider_than_the_picture_is_the_picture(
    anna: Caller, picture: dict[str, str]
) -> None:
    assert anna.get(f"{picture['url']}?w=2000").data == anna.get(picture["url"]).data


@pytest.mark.parametrize("width", ["0", "9999999", "wide"])
def test_a_thumbnail_has_a_width_within_reason(
    anna: Caller, picture: dict[str, str], width: str
) -> None:
    assert anna.get(f"{picture['url']}?w={width}").json["param"] == "w"


def test_a_deleted_picture_is_gone_with_its_file(
    anna: Caller, picture: dict[str, str], storage: Storage
) -> None:
    assert anna.delete(f"/api/v1/files/{picture['id']}").status_code == 204

    assert anna.get(picture["url"]).status_code == 404
    assert storage.files.keys() == []
    assert anna.delete(f"/api/v1/files/{picture['id']}").status_code == 404


def test_a_long_list_is_read_page_by_page(anna: Caller) -> None:
    anna.generate(n=5)

    first = anna.get("/api/v1/files/?limit=3").json
    rest = anna.get(f"/api/v1/files/?limit=3&after={first[-1]['id']}").json

    assert len(first) == 3
    assert len({each["id"] for each in first + rest}) == 5


def test_the_pictures_of_a_job_can_be_listed(anna: Caller, picture: dict[str, str]) -> None:
    job = anna.get(f"/api/v1/files/{picture['id']}").json["job_id"]
    anna.generate()

    listed = anna.get(f"/api/v1/files/?job_id={job}").json

    assert [each["id"] for each in listed] == [picture["id"]]
