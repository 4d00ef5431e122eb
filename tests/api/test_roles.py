"""Roles: what an account may ask for, and who says so."""

from collections.abc import Callable
from typing import Any

import pytest

from darkroom.domain import Role
from storage import Storage
from tests.api.conftest import Caller, InlineQueue

ASYNC = {"Prefer": "respond-async"}


def limit(admin: Caller, name: str, **limits: Any) -> None:
    answer = admin.put(f"/api/v1/roles/{name}", json={"limits": limits})
    assert answer.status_code == 200, answer.json


@pytest.fixture
def guest(admin: Caller, sign_in: Callable[..., Caller]) -> Caller:
    """Someone with a role that was made, and has no limits yet."""
    limit(admin, "guest")
    return sign_in("guest@example.org", "guest")


def test_roles_are_made_listed_changed_and_deleted(admin: Caller) -> None:
    limit(admin, "team", max_count=4, max_size="1024x768", models=["openai/*"])
    limit(admin, "team", max_count=2)

    (_, _, team) = admin.get("/api/v1/roles").json
    assert [each["name"] for each in admin.get("/api/v1/roles").json] == ["admin", "user", "team"]
    assert {name: value for name, value in team["limits"].items() if value} == {"max_count": 2}
    assert admin.get("/api/v1/roles/team").json == team
    assert admin.delete("/api/v1/roles/team").status_code == 204
    assert admin.get("/api/v1/roles/team").status_code == 404


def test_only_admins_see_roles(anna: Caller) -> None:
    assert anna.get("/api/v1/roles").status_code == 403
    assert anna.put("/api/v1/roles/user", json={"limits": {}}).status_code == 403


def test_admins_cannot_be_limited_by_their_role(admin: Caller) -> None:
    answer = admin.put("/api/v1/roles/admin", json={"limits": {"max_count": 1}})

    assert answer.status_code == 409
    assert "account limits of its own" in answer.json["detail"]


@pytest.mark.parametrize("name", ["Team", "9lives", "a" * 17, "so%20spaced"])
def test_a_role_has_a_plain_name(admin: Caller, name: str) -> None:
    answer = admin.put(f"/api/v1/roles/{name}", json={"limits": {}})

    assert (answer.status_code, answer.json["param"]) == (400, "name")


def test_a_role_that_accounts_have_stays(admin: Caller, guest: Caller) -> None:
    assert admin.delete("/api/v1/roles/guest").status_code == 409
    assert admin.delete("/api/v1/roles/user").status_code == 409


def test_an_account_cannot_get_a_role_there_is_not(admin: Caller, anna: Caller) -> None:
    answer = admin.patch(f"/api/v1/users/{anna.user.id}", json={"role": "ghost"})

    assert (answer.status_code, answer.json["param"]) == (400, "role")
    assert anna.get("/api/v1/auths/").json["role"] == "user"


def test_a_changed_role_holds_from_the_next_request_on(admin: Caller, guest: Caller) -> None:
    assert guest.generate(n=2).status_code == 200

    limit(admin, "guest", max_count=1)

    assert guest.generate(n=2).status_code == 400
    assert guest.get("/api/v1/auths/").json["limits"]["max_count"] == 1


@pytest.mark.parametrize(
    ("limits", "asked", "param", "said"),
    [
        ({"max_count": 2}, {"n": 3}, "n", "at most 2 pictures"),
        ({"max_size": "64x96"}, {"size": "96x96"}, "size", "at most 64x96 pixels"),
        ({"max_pixels": 4096}, {"size": "64x80"}, "size", "at most 4,096 pixels"),
        ({"max_steps": 10}, {"steps": 11}, "steps", "at most 10 steps"),
        ({"max_size": "64x64"}, {"size": "auto"}, "size", "name a size"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_too_much_is_refused_and_says_how_much_may_be_asked_for(
    admin: Caller,
    guest: Caller,
    limits: dict[str, Any],
    asked: dict[str, Any],
    param: str,
    said: str,
    strict: bool,
) -> None:
    limit(admin, "guest", **limits)

    answer = guest.generate(strict=strict, **asked)

    assert (answer.status_code, answer.json["param"]) == (400, param)
    assert said in answer.json["detail"]


def test_a_picture_may_lie_on_its_side(admin: Caller, guest: Caller) -> None:
    limit(admin, "guest", max_size="64x96")

    assert guest.generate(size="96x64").status_code == 200


@pytest.mark.parametrize(
    ("limits", "size"),
    [
        ({"max_size": "64x96"}, "64x96"),
        ({"max_pixels": 4096}, "64x64"),
        ({"max_size": "128x128", "max_pixels": 4096}, "64x64"),
    ],
)
def test_a_default_gives_way_to_the_limit(
    admin: Caller, guest: Caller, limits: dict[str, Any], size: str
) -> None:
    limit(admin, "guest", **limits)

    answer = guest.post("/api/images/generations", json={"prompt": "a fox"})

    job = answer.headers["Darkroom-Job"]
    assert guest.get(f"/api/v1/jobs/{job}").json["size"] == size


def test_a_model_that_is_not_allowed_is_refused_and_not_listed(
    admin: Caller, guest: Caller
) -> None:
    limit(admin, "guest", models=["openai/*"])

    refused = guest.generate(model="builtin/placeholder")
    spoken = guest.post("/v1/images/generations", json={"prompt": "a fox"})

    assert (refused.status_code, refused.json["code"]) == (403, "model_not_allowed")
    assert "It may use openai/*" in refused.json["detail"]
    assert (spoken.status_code, spoken.json["error"]["code"]) == (403, "permission_denied")
    assert guest.get("/api/images/models").json == []
    assert guest.get("/v1/models").json["data"] == []
    assert guest.get("/v1/models/builtin/placeholder").status_code == 404
    assert admin.get("/api/images/models").json != []


def test_who_names_no_model_gets_the_first_that_is_allowed(
    admin: Caller, guest: Caller, storage: Storage
) -> None:
    storage.config.update({"IMAGES_OPENAI_API_KEY": "sk-none"})
    limit(admin, "guest", models=["openai/*"])

    job = guest.generate(headers=ASYNC, size="1024x1024").json

    assert job["engine"] == "openai"


def test_each_line_of_a_batch_is_judged(admin: Caller, guest: Caller) -> None:
    limit(admin, "guest", models=["builtin/*"], max_count=1)
    storage_of = {"prompt": "a fox", "size": "64x64"}

    answer = guest.post(
        "/api/v1/batches",
        json={"items": [storage_of, {**storage_of, "n": 2}, {**storage_of, "model": "x/y"}]},
    )
    limit(admin, "guest", models=["openai/*"])
    refused = guest.post("/api/v1/batches", json={"items": [storage_of]})

    assert [each["line"] for each in answer.json["errors"]] == [2, 3]
    assert refused.status_code == 400
    assert [each["code"] for each in refused.json["errors"]] == ["model_not_allowed"]


def test_a_retry_is_judged_by_what_its_owner_may_do_now(
    admin: Caller, guest: Caller, queue: InlineQueue
) -> None:
    queue.is_held = True
    job = guest.generate(n=2, headers=ASYNC).json["id"]
    guest.post(f"/api/v1/jobs/{job}/cancel")
    limit(admin, "guest", max_count=1)

    assert guest.post(f"/api/v1/jobs/{job}/retry").status_code == 400
    assert admin.post(f"/api/v1/jobs/{job}/retry").status_code == 400


def test_a_size_that_was_left_to_the_model_is_judged_again_too(
    admin: Caller, guest: Caller, queue: InlineQueue
) -> None:
    queue.is_held = True
    job = guest.generate(size="auto", headers=ASYNC).json["id"]
    guest.post(f"/api/v1/jobs/{job}/cancel")
    limit(admin, "guest", max_size="64x64")

    refused = guest.post(f"/api/v1/jobs/{job}/retry")

    assert (refused.status_code, refused.json["param"]) == (400, "size")


def test_what_may_be_queued_holds_also_for_who_came_at_the_same_moment(
    admin: Caller,
    guest: Caller,
    queue: InlineQueue,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue.is_held = True
    limit(admin, "guest", max_queued=1)
    # As each of two calls sees it that look before either is accepted.
    monkeypatch.setattr(storage.backlog, "has_room_for", lambda *_, **__: True)
    named = ASYNC | {"Idempotency-Key": "first"}

    answers = [guest.generate(headers=each) for each in (named, ASYNC, named)]

    assert [each.status_code for each in answers] == [202, 429, 202]
    assert answers[1].json["code"] == "limit_reached"
    assert answers[0].json["id"] == answers[2].json["id"]


def test_a_role_says_how_much_may_be_queued(
    admin: Caller, guest: Caller, anna: Caller, queue: InlineQueue
) -> None:
    limit(admin, "guest", max_queued=1)
    queue.is_held = True

    answers = [guest.generate(headers=ASYNC) for _ in range(2)]

    assert [each.status_code for each in answers] == [202, 429]
    assert [anna.generate(headers=ASYNC).status_code for _ in range(2)] == [202, 202]
    many = {"items": [{"prompt": "a fox"}] * 2}
    assert guest.post("/api/v1/batches", json=many).status_code == 400


def test_a_role_says_how_much_runs_at_once(
    admin: Caller, guest: Caller, anna: Caller, queue: InlineQueue
) -> None:
    limit(admin, "guest", max_running=1)
    queue.is_held = True

    for caller in (guest, guest, anna, anna):
        caller.generate(headers=ASYNC)

    owners = [job["user_id"] for job in admin.get("/api/v1/jobs?all=true").json]
    sent = {each.id for each in queue.sent}
    jobs = admin.get("/api/v1/jobs?all=true").json
    assert owners.count(guest.user.id) == 2
    assert [each["user_id"] for each in jobs if each["id"] in sent].count(guest.user.id) == 1
    assert [each["user_id"] for each in jobs if each["id"] in sent].count(anna.user.id) == 2


def test_one_account_can_have_limits_of_its_own(admin: Caller, guest: Caller) -> None:
    limit(admin, "guest", max_count=1, max_steps=5)

    changed = admin.patch(f"/api/v1/users/{guest.user.id}", json={"own_limits": {"max_count": 3}})

    assert changed.json["own_limits"]["max_count"] == 3
    assert changed.json["limits"]["max_steps"] == 5
    assert guest.generate(n=3).status_code == 200
    assert guest.generate(steps=6).status_code == 400


def test_an_admin_has_no_limits_by_the_role(admin: Caller) -> None:
    limit(admin, "user", max_count=1)

    assert admin.user.role == Role.ADMIN
    assert admin.generate(n=3).status_code == 200
