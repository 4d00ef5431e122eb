"""Accounts: signing in and up, keys, and what admins do with users."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask

from darkroom.settings import Settings
from tests.api.conftest import Caller

PASSWORD = "a password"


@pytest.fixture
def anna(sign_in: Callable[..., Caller]) -> Caller:
    return sign_in("anna@example.org", password=PASSWORD)


def test_a_sign_in_gives_a_token_that_works(anna: Caller) -> None:
    session = anna.nobody.post(
        "/api/v1/auths/signin", json={"email": "Anna@Example.org", "password": PASSWORD}
    ).json

    profile = anna.nobody.get(
        "/api/v1/auths/", headers={"Authorization": f"Bearer {session['token']}"}
    )
    assert profile.json["email"] == "anna@example.org"
    assert session["token_type"] == "Bearer"
    assert session["expires_at"] > profile.json["created_at"]


@pytest.mark.parametrize(
    ("email", "password"), [("anna@example.org", "wrong"), ("nobody@example.org", PASSWORD)]
)
def test_a_wrong_password_and_an_unknown_email_look_the_same(
    anna: Caller, email: str, password: str
) -> None:
    answer = anna.nobody.post("/api/v1/auths/signin", json={"email": email, "password": password})

    assert answer.status_code == 401
    assert answer.json["detail"].startswith("E-mail or password is wrong")


def test_signing_up_is_off_unless_enabled(anna: Caller) -> None:
    answer = anna.nobody.post(
        "/api/v1/auths/signup", json={"name": "Bo", "email": "bo@example.org", "password": PASSWORD}
    )

    assert (answer.status_code, answer.json["code"]) == (403, "disabled")


def test_where_it_is_enabled_anyone_may_sign_up_once(
    anna: Caller, make_app: Callable[[Settings], Flask], settings: Settings
) -> None:
    anna.client = make_app(replace(settings, enable_signup=True)).test_client()
    new = {"name": "Bo", "email": "bo@example.org", "password": PASSWORD}

    first = anna.nobody.post("/api/v1/auths/signup", json=new)
    second = anna.nobody.post("/api/v1/auths/signup", json=new)

    assert first.status_code == 201
    assert (first.json["role"], first.json["permissions"]) == (
        "user",
        ["features.image_generation"],
    )
    assert (second.status_code, second.json["param"]) == (409, "email")


def test_an_api_key_works_until_it_is_revoked_and_is_shown_once(anna: Caller) -> None:
    made = anna.post("/api/v1/auths/api_key", json={"name": "script"}).json
    caller = Caller(anna.client, {"Authorization": f"Bearer {made['api_key']}"}, anna.user)

    assert caller.generate().status_code == 200
    (listed,) = anna.get("/api/v1/auths/api_key").json
    assert listed["name"] == "script"
    assert "api_key" not in listed
    assert made["api_key"].startswith(listed["prefix"])

    assert anna.delete(f"/api/v1/auths/api_key/{made['id']}").status_code == 204
    assert caller.generate().status_code == 401


def test_the_key_of_another_user_cannot_be_revoked(
    anna: Caller, sign_in: Callable[..., Caller]
) -> None:
    made = anna.post("/api/v1/auths/api_key").json

    answer = sign_in("bo@example.org").delete(f"/api/v1/auths/api_key/{made['id']}")

    assert answer.status_code == 404


def test_a_password_change_needs_the_current_one(anna: Caller) -> None:
    change = {"password": "wrong", "new_password": "another password"}
    refused = anna.post("/api/v1/auths/update/password", json=change)
    done = anna.post("/api/v1/auths/update/password", json=change | {"password": PASSWORD})

    assert (refused.status_code, refused.json["param"]) == (400, "password")
    assert done.status_code == 204
    session = anna.nobody.post(
        "/api/v1/auths/signin", json={"email": "anna@example.org", "password": "another password"}
    )
    assert session.status_code == 200


class TestAdmins:
    def test_an_admin_makes_users_and_changes_them(self, admin: Caller) -> None:
        new = {"name": "Bo", "email": "bo@example.org", "password": PASSWORD}

        made = admin.post("/api/v1/users/", json=new).json
        changed = admin.patch(
            f"/api/v1/users/{made['id']}", json={"permissions": [], "role": "admin"}
        ).json

        assert made["permissions"] == ["features.image_generation"]
        assert (changed["permissions"], changed["role"]) == ([], "admin")
        assert admin.get(f"/api/v1/users/{made['id']}").json == changed
        assert [each["email"] for each in admin.get("/api/v1/users/").json] == [
            "admin@example.org",
            "bo@example.org",
        ]
        assert "password" not in str(changed)

    def test_an_unknown_permission_is_refused(self, admin: Caller) -> None:
        answer = admin.patch(f"/api/v1/users/{admin.user.id}", json={"permissions": ["fly"]})

        assert (answer.status_code, answer.json["param"]) == (400, "permissions.0")

    @pytest.mark.parametrize("change", [{"role": "user"}, {"active": False}])
    def test_admins_cannot_lock_themselves_out(
        self, admin: Caller, change: dict[str, object]
    ) -> None:
        assert admin.patch(f"/api/v1/users/{admin.user.id}", json=change).status_code == 409
