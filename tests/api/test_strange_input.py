"""What nobody sends on purpose is answered clearly too, and never with a 500."""

import pytest

from tests.api.conftest import Caller


@pytest.mark.parametrize(
    "path", ["jobs/%00", "jobs/%00/events", "files/a%00b", "files/%00/content"]
)
def test_an_id_with_a_nul_character_is_not_found(anna: Caller, path: str) -> None:
    assert anna.get(f"/api/v1/{path}").status_code == 404


def test_an_offset_beyond_any_table_is_named(admin: Caller) -> None:
    answer = admin.get(f"/api/v1/users/?offset={10**22}")

    assert (answer.status_code, answer.json["param"]) == (400, "offset")


def test_json_that_nests_too_deeply_is_refused(anna: Caller) -> None:
    body = b'{"prompt": "a", "metadata": {"x": ' + b"[" * 500 + b"]" * 500 + b"}}"

    answer = anna.post("/api/images/generations", data=body, content_type="application/json")

    assert (answer.status_code, answer.json["param"]) == (400, "body")


def test_a_body_of_blanks_is_no_json(anna: Caller) -> None:
    answer = anna.post("/api/v1/auths/api_key", data=b" \n", content_type="application/json")

    assert (answer.status_code, answer.json["param"]) == (400, "body")
