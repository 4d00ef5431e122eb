"""When tokens and keys end, and what is written down about it."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask

from api import auth, events, waiting
from api.batches import results
from darkroom.domain import Role
from darkroom.secrets import SecretBox
from darkroom.settings import Settings
from storage import Storage
from tests.api.conftest import Caller, InlineQueue

PASSWORD = "a password"


@pytest.fixture
def anna(sign_in: Callable[..., Caller]) -> Caller:
    return sign_in("anna@example.org", password=PASSWORD)


@pytest.fixture
def script(anna: Caller) -> Caller:
    """A program of Anna's, with an API key."""
    key = anna.post("/api/v1/auths/api_key", json={"name": "script"}).json["api_key"]
    return Caller(anna.client, {"Authorization": f"Bearer {key}"}, anna.user)


def again(anna: Caller, password: str = PASSWORD) -> Caller:
    """Anna, signed in once more."""
    answer = anna.nobody.post(
        "/api/v1/auths/signin", json={"email": anna.user.email, "password": password}
    )
    return Caller(anna.client, {"Authorization": f"Bearer {answer.json['token']}"}, anna.user)


def is_in(caller: Caller) -> bool:
    return caller.get("/api/v1/auths/").status_code == 200


def test_signing_out_ends_one_token(anna: Caller, script: Caller) -> None:
    other = again(anna)

    assert anna.post("/api/v1/auths/signout").status_code == 204

    assert (is_in(anna), is_in(other), is_in(script)) == (False, True, True)
    assert script.post("/api/v1/auths/signout").status_code == 409


def test_a_new_password_ends_all_tokens_and_no_key(anna: Caller, script: Caller) -> None:
    other = again(anna)

    changed = {"password": PASSWORD, "new_password": "another password"}
    assert anna.post("/api/v1/auths/update/password", json=changed).status_code == 204

    assert (is_in(anna), is_in(other), is_in(script)) == (False, False, True)
    assert is_in(again(anna, "another password"))


def test_an_admin_ends_the_sessions_of_a_user(anna: Caller, script: Caller, admin: Caller) -> None:
    url = f"/api/v1/users/{anna.user.id}/signout"

    admin.post(url)
    assert (is_in(anna), is_in(script)) == (False, True)
    admin.post(url, json={"api_keys": True})

    assert (is_in(script), is_in(admin)) == (False, True)
    assert admin.post("/api/v1/users/nobody/signout").status_code == 404


def test_who_is_deactivated_is_out_and_old_tokens_stay_out(
    anna: Caller, script: Caller, admin: Caller
) -> None:
    url = f"/api/v1/users/{anna.user.id}"

    admin.patch(url, json={"active": False})
    assert (is_in(anna), is_in(script)) == (False, False)
    admin.patch(url, json={"active": True})

    assert (is_in(anna), is_in(script)) == (False, True)


def test_a_key_may_expire(anna: Caller) -> None:
    made = anna.post("/api/v1/auths/api_key", json={"expires_at": time.time() - 1}).json
    expired = Caller(anna.client, {"Authorization": f"Bearer {made['api_key']}"}, anna.user)

    assert not is_in(expired)
    assert anna.get("/api/v1/auths/api_key").json[0]["expires_at"] == made["expires_at"]


@pytest.mark.parametrize("by_key", [True, False])
def test_an_open_stream_ends_with_its_token_or_key(
    anna: Caller,
    script: Caller,
    admin: Caller,
    queue: InlineQueue,
    monkeypatch: pytest.MonkeyPatch,
    by_key: bool,
) -> None:
    monkeypatch.setattr(waiting, "RECHECK_EVERY_S", 0.05)
    monkeypatch.setattr(auth, "LOOK_AGAIN_EVERY_S", 0.0)
    for module in (events, results):
        monkeypatch.setattr(module, "HEARTBEAT_S", 0.0)
    queue.is_held = True
    job = anna.generate(headers={"Prefer": "respond-async"}).headers["Location"]
    batch = anna.post("/api/v1/batches", json={"items": [{"prompt": "a fox"}]}).json["id"]
    caller = script if by_key else anna
    streams = [
        caller.follow(f"{job}/events"),
        caller.follow(f"/api/v1/batches/{batch}/results?follow=true"),
    ]
    assert next(iter(streams[0].iter_encoded())).startswith(b"id:")

    admin.post(f"/api/v1/users/{anna.user.id}/signout", json={"api_keys": True})

    for each in streams:
        assert set(each.iter_encoded()) <= {events.PING, results.NOTHING}
        each.close()


class TestTheSecretChanges:
    def test_with_the_old_one_at_hand_everything_goes_on(
        self, make_app: Callable[..., Flask], settings: Settings, storage: Storage
    ) -> None:
        user = storage.users.create(email="a@example.org", name="A", role=Role.ADMIN)
        before = make_app(replace(settings, secret_key="o" * 40))
        with before.test_request_context():
            token, _ = auth.issue_token(user)
        headers = {"Authorization": f"Bearer {token}"}
        after = replace(settings, secret_key="n" * 40, secret_key_previous=("o" * 40,))
        without = replace(settings, secret_key="n" * 40)

        assert make_app(after).test_client().get("/api/v1/auths/", headers=headers).json
        answer = make_app(without).test_client().get("/api/v1/auths/", headers=headers)

        assert answer.status_code == 401

    def test_keys_that_cannot_be_read_are_told_of_and_the_rest_goes_on(
        self, admin: Caller, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = admin.generate(headers={"Prefer": "respond-async"}).headers["Location"]
        storage.config.update({"IMAGES_OPENAI_API_KEY": "sk-1", "IMAGES_GEMINI_API_KEY": "AI-1"})
        monkeypatch.setattr(storage.config, "_box", SecretBox("another secret"))

        answer = admin.generate()

        assert (answer.status_code, answer.json["code"]) == (503, "keys_unreadable")
        assert "DARKROOM_SECRET_KEY_PREVIOUS" in answer.json["detail"]
        assert "IMAGES_GEMINI_API_KEY, IMAGES_OPENAI_API_KEY" in answer.json["detail"]
        assert admin.get(job).status_code == 200
        assert is_in(admin)


class TestAudit:
    def test_admins_see_who_did_what_and_nobody_sees_secrets(
        self, admin: Caller, anna: Caller
    ) -> None:
        anna.nobody.post(
            "/api/v1/auths/signin", json={"email": "anna@example.org", "password": "hunter2 x"}
        )
        anna.nobody.post(
            "/api/v1/auths/signin", json={"email": "my-secret-word", "password": "hunter2 x"}
        )
        again(anna)
        update = {"IMAGES_OPENAI_API_KEY": "sk-precious", "IMAGE_SIZE": "512x512"}
        admin.post("/api/images/config/update", json=update, headers={"X-Request-ID": "r-1"})
        change = {"name": "Anne", "password": "another password"}
        admin.patch(f"/api/v1/users/{anna.user.id}", json=change)

        answer = admin.get("/api/v1/audit")

        seen = [
            (each["action"], each["outcome"], each["user_id"], each["target"], each["fields"])
            for each in answer.json
        ]
        a, b = admin.user.id, anna.user.id
        assert seen == [
            ("user_changed", "done", a, b, ["name", "password"]),
            ("engine_key_changed", "done", a, None, ["IMAGES_OPENAI_API_KEY"]),
            ("config_changed", "done", a, None, ["IMAGE_SIZE"]),
            ("sign_in", "done", b, b, []),
            ("sign_in", "refused", None, None, []),
            ("sign_in", "refused", None, b, []),
        ]
        assert answer.json[1]["request_id"] == "r-1"
        assert answer.json[1]["address"] == "127.0.0.1"
        assert not any(each in answer.text for each in ("precious", "hunter2", "my-secret-word"))
        assert anna.get("/api/v1/audit").status_code in {401, 403}

    def test_changes_of_what_people_may_have_are_in_it(self, admin: Caller, anna: Caller) -> None:
        path = f"/api/v1/users/{anna.user.id}"
        admin.put("/api/v1/roles/guest", json={"limits": {"max_count": 2}})
        admin.patch(path, json={"quotas": {"budget_per_day": "1.5", "images_per_day": 3}})
        admin.patch(path, json={"own_limits": {"max_count": 1}, "role": "guest"})
        admin.patch(path, json={"role": "user"})
        admin.delete("/api/v1/roles/guest")
        refused = admin.patch(path, json={"quotas": {"images_per_day": -1}})

        entries = admin.get("/api/v1/audit").json

        assert refused.status_code == 400
        assert [(each["action"], each["target"], each["fields"]) for each in entries] == [
            ("role_deleted", "guest", []),
            ("user_changed", anna.user.id, ["role"]),
            ("user_changed", anna.user.id, ["own_limits", "role"]),
            ("user_changed", anna.user.id, ["quotas"]),
            ("role_changed", "guest", ["limits"]),
        ]
        who = {(each["user_id"], each["address"], each["outcome"]) for each in entries}
        assert who == {(admin.user.id, "127.0.0.1", "done")}

    def test_it_is_read_in_parts_and_narrowed(
        self, admin: Caller, anna: Caller, script: Caller
    ) -> None:
        made = script.post("/api/v1/auths/api_key").json["id"]
        script.delete(f"/api/v1/auths/api_key/{made}")

        first = admin.get("/api/v1/audit?limit=1").json
        (second,) = admin.get(f"/api/v1/audit?limit=1&after={first[0]['id']}").json

        assert [first[0]["action"], second["action"]] == ["key_revoked", "key_created"]
        assert first[0]["key_id"] == anna.get("/api/v1/auths/api_key").json[0]["id"]
        assert first == admin.get("/api/v1/audit?action=key_revoked").json
        assert admin.get("/api/v1/audit?after=nothing").status_code == 404
        assert admin.get(f"/api/v1/audit?until={first[0]['at'] - 999}").json == []

    def test_old_entries_go(self, admin: Caller, anna: Caller, storage: Storage) -> None:
        again(anna)

        assert storage.audit.prune(days=1) == 0
        assert storage.audit.prune(days=-1) == 1
