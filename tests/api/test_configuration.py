"""The admin's configuration: Open WebUI's flat fields, with keys that stay secret."""

import pytest

from darkroom.configuration import FIELDS
from darkroom.pools import read_servers
from darkroom.secrets import SecretBox
from storage import Storage
from tests.api.conftest import Caller

KEY = "sk-proj-0123456789abcdef"
UPDATE = "/api/images/config/update"


def test_every_field_is_read_and_written_back_unchanged(admin: Caller) -> None:
    before = admin.get("/api/images/config").json

    after = admin.post(UPDATE, json=before)

    assert set(before) == {each.name for each in FIELDS} | {"engines"}
    assert (after.status_code, after.json) == (200, before)


def test_a_key_is_masked_and_its_mask_keeps_it(admin: Caller, storage: Storage) -> None:
    shown = admin.post(UPDATE, json={"IMAGES_OPENAI_API_KEY": KEY}).json["IMAGES_OPENAI_API_KEY"]

    admin.post(UPDATE, json={"IMAGES_OPENAI_API_KEY": shown, "IMAGE_SIZE": "512x512"})

    assert shown == "********cdef"
    assert storage.config.values()["IMAGES_OPENAI_API_KEY"] == KEY
    assert storage.config.values()["IMAGE_SIZE"] == "512x512"


def test_a_key_that_cannot_be_read_any_more_can_be_saved_anew(
    admin: Caller, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.post(UPDATE, json={"IMAGES_OPENAI_API_KEY": KEY})
    monkeypatch.setattr(storage.config, "_box", SecretBox("another secret"))

    answer = admin.post(UPDATE, json={"IMAGES_OPENAI_API_KEY": KEY})

    assert (answer.status_code, answer.json["IMAGES_OPENAI_API_KEY"]) == (200, "********cdef")


def test_an_empty_key_removes_it(admin: Caller, storage: Storage) -> None:
    admin.post(UPDATE, json={"IMAGES_OPENAI_API_KEY": KEY})

    shown = admin.post(UPDATE, json={"IMAGES_OPENAI_API_KEY": ""}).json

    assert shown["IMAGES_OPENAI_API_KEY"] == ""
    assert storage.config.values()["IMAGES_OPENAI_API_KEY"] == ""


def test_a_configured_engine_is_ready_at_once(admin: Caller) -> None:
    admin.post(UPDATE, json={"IMAGES_OPENAI_API_KEY": KEY, "IMAGE_GENERATION_ENGINE": "openai"})

    found = admin.get("/api/v1/engines/").json
    assert {each["name"] for each in found if each["state"] == "ready"} == {"builtin", "openai"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENABLE_IMAGE_GENERATION", "yes"),
        ("IMAGE_GENERATION_ENGINE", "nothing-like-it"),
        ("IMAGE_GENERATION_ENGINE", ""),
        ("IMAGE_EDIT_ENGINE", "nothing-like-it"),
        ("IMAGE_SIZE", "big"),
        ("IMAGE_STEPS", 0),
        ("IMAGES_OPENAI_API_BASE_URL", "ftp://example.org"),
        ("IMAGES_OPENAI_API_BASE_URL", "http://["),
        ("IMAGES_OPENAI_API_PARAMS", [1]),
        ("COMFYUI_WORKFLOW_NODES", {"a": 1}),
        ("IMAGES_OPENAI_API_KEI", "x"),
    ],
)
def test_a_value_at_fault_is_named_and_nothing_is_changed(
    admin: Caller, name: str, value: object
) -> None:
    before = admin.get("/api/images/config").json

    answer = admin.post(UPDATE, json={"IMAGE_SIZE": "512x512", name: value})

    assert answer.status_code == 400
    assert answer.json["param"].split(".")[0] == name
    assert admin.get("/api/images/config").json == before


def test_verify_says_of_each_enabled_engine_whether_it_answers(admin: Caller) -> None:
    (result,) = admin.post("/api/images/verify").json

    assert (result["engine"], result["ok"]) == ("builtin", True)


def test_verify_says_why_an_engine_cannot_be_used(admin: Caller) -> None:
    (result,) = admin.post("/api/images/verify", json={"engine": "openai"}).json

    assert result["ok"] is False
    assert "IMAGES_OPENAI_API_KEY" in result["detail"]


def test_verify_knows_which_engines_there_are(admin: Caller) -> None:
    answer = admin.post("/api/images/verify", json={"engine": "nothing-like-it"})

    assert (answer.status_code, answer.json["param"]) == (400, "engine")


@pytest.mark.parametrize("body", [[1], ["engines"], 5, "abc", True])
def test_a_body_that_is_no_object_is_refused(admin: Caller, body: object) -> None:
    assert admin.post(UPDATE, json=body).status_code == 400


POOL = [
    {"name": "first", "api_key": KEY},
    {"base_url": "http://gpu-2:8188", "api_key": "sk-proj-second-4567", "max_in_flight": 2},
]


def test_keys_of_servers_are_masked_and_their_masks_keep_them(
    admin: Caller, storage: Storage
) -> None:
    shown = admin.post(UPDATE, json={"COMFYUI_SERVERS": POOL}).json["COMFYUI_SERVERS"]
    turned = [shown[1], {**shown[0], "max_in_flight": 3}]

    again = admin.post(UPDATE, json={"COMFYUI_SERVERS": turned}).json["COMFYUI_SERVERS"]

    assert [each["api_key"] for each in shown] == ["********cdef", "********4567"]
    assert [each["name"] for each in again] == ["gpu-2-8188", "first"]
    kept = {
        each.name: (each.api_key, each.max_in_flight)
        for each in read_servers(storage.config.values()["COMFYUI_SERVERS"])
    }
    assert kept == {"first": (KEY, 3), "gpu-2-8188": ("sk-proj-second-4567", 2)}


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ([{"name": "a"}, {"name": "a"}], "two servers are called 'a'"),
        ([{"name": "new", "api_key": "********cdef"}], "send the key itself"),
        ([{"name": "a b"}], "letters, digits"),
        ([{"address": "http://gpu"}], "address"),
    ],
)
def test_servers_that_cannot_be_kept_are_refused(
    admin: Caller, servers: list[dict[str, str]], words: str
) -> None:
    answer = admin.post(UPDATE, json={"COMFYUI_SERVERS": servers})

    assert answer.status_code == 400
    assert words in answer.text


def test_servers_are_stored_encrypted(admin: Caller, storage: Storage) -> None:
    admin.post(UPDATE, json={"COMFYUI_SERVERS": POOL})

    with storage.database.reading() as connection:
        stored = str(connection.exec_driver_sql("SELECT value FROM config").all())
    assert KEY not in stored
    assert "gpu-2" not in stored
