"""What browsers are told about our answers, and what is never told to anybody."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Never
from urllib.parse import urlsplit

import pytest
from flask import Flask

from api.services import EXTENSION
from darkroom.errors import SettingsError
from darkroom.settings import Settings
from storage.users import Users
from tests.api.conftest import Answer, Caller

ORIGIN = "https://app.example.org"


def policy(answer: Answer) -> str:
    return answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path", ["/health", "/openapi.json", "/api/images/config", "/v1/models", "/nothing", "/docs/"]
)
def test_every_answer_is_guarded(anna: Caller, path: str) -> None:
    headers = anna.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in headers


def test_the_docs_page_runs_its_own_scripts_and_no_others(anna: Caller) -> None:
    page = anna.get("/docs/")

    scripts = re.search(r"script-src ([^;]*)", policy(page))
    assert scripts is not None
    assert "'sha256-" in scripts[1]
    assert "unsafe" not in scripts[1]


def test_an_uploaded_page_is_never_run(anna: Caller) -> None:
    page = io.BytesIO(b'{"a": "<script>alert(1)</script>"}')
    data = {"purpose": "batch", "file": (page, "page.html")}
    made = anna.post("/v1/files", data=data).json["id"]

    answer = anna.get(f"/v1/files/{made}/content")

    assert answer.content_type == "application/octet-stream"
    assert "default-src 'none'; sandbox" in policy(answer)


def test_an_svg_is_no_picture(anna: Caller) -> None:
    svg = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4="

    answer = anna.post("/api/images/edit", json={"prompt": "x", "image": svg})

    assert answer.status_code == 400


def test_pictures_run_nothing_and_only_signed_links_may_be_embedded(
    app: Flask, anna: Caller
) -> None:
    picture = anna.generate().json[0]["id"]
    link = urlsplit(app.extensions[EXTENSION].links.path(picture))

    own = anna.get(f"/api/v1/files/{picture}/content")
    linked = anna.nobody.get(f"{link.path}?{link.query}")

    assert "sandbox" in policy(own)
    assert own.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert linked.status_code == 200
    assert linked.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_what_holds_secrets_is_kept_nowhere(admin: Caller) -> None:
    for answer in (admin.post("/api/v1/auths/api_key"), admin.get("/api/images/config")):
        assert answer.headers["Cache-Control"] == "no-store"


def test_hsts_is_sent_over_tls_only(make_app: Callable[..., Flask], settings: Settings) -> None:
    client = make_app(replace(settings, hsts_s=600)).test_client()

    assert "Strict-Transport-Security" not in client.get("/health").headers
    secure = client.get("/health", base_url="https://darkroom.example.org")
    assert secure.headers["Strict-Transport-Security"] == "max-age=600"


@pytest.mark.parametrize("path", ["/api/v1/auths/", "/v1/models"])
def test_a_mistake_of_ours_tells_nothing_of_itself(
    anna: Caller, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def break_down(*_: object, **__: object) -> Never:
        raise RuntimeError("the precious inside")

    monkeypatch.setattr(Users, "by_token", break_down)

    answer = anna.get(path)

    assert answer.status_code == 500
    assert answer.json
    assert not re.search("precious|Traceback|RuntimeError|[.]py", answer.text)


class TestOtherOrigins:
    def test_no_other_origin_may_call_unless_it_is_named(self, anna: Caller) -> None:
        answer = anna.get("/api/v1/auths/", headers={"Origin": ORIGIN})

        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]

    @pytest.fixture
    def settings(self, settings: Settings, request: pytest.FixtureRequest) -> Settings:
        return replace(settings, cors_origins=getattr(request, "param", ()))

    @pytest.mark.parametrize("settings", [(ORIGIN,)], indirect=True)
    @pytest.mark.parametrize(
        "path", ["/api/images/generations", "/v1/images/generations", "/api/v1/jobs/x/events"]
    )
    def test_a_named_origin_may_ask_before_it_calls(self, anna: Caller, path: str) -> None:
        answer = anna.nobody.client.options(
            path,
            headers={
                "Origin": ORIGIN,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )

        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "Access-Control-Allow-Credentials" not in answer.headers

    @pytest.mark.parametrize("settings", [(ORIGIN,)], indirect=True)
    @pytest.mark.parametrize("origin", [f"{ORIGIN}.evil.example", "http://app.example.org", "null"])
    def test_only_the_very_same_origin_is_let_in(self, anna: Caller, origin: str) -> None:
        refused = anna.get("/api/v1/auths/", headers={"Origin": origin})
        failed = anna.nobody.get("/api/v1/auths/", headers={"Origin": ORIGIN})

        assert "Access-Control-Allow-Origin" not in refused.headers
        assert "Origin" in refused.headers["Vary"]
        # Failures can be read too.
        assert failed.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert failed.headers["Access-Control-Expose-Headers"] == "*"

    @pytest.mark.parametrize("settings", [("*",)], indirect=True)
    def test_all_origins_may_be_let_in_but_never_with_credentials(self, anna: Caller) -> None:
        answer = anna.get("/api/v1/auths/", headers={"Origin": ORIGIN})

        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers

    @pytest.mark.parametrize(
        "text",
        [
            "app.example.org",
            f"{ORIGIN}/",
            "https://*.example.org",
            f"{ORIGIN}:443",
            "https://A.org",
        ],
    )
    def test_what_is_no_origin_is_refused_at_the_start(self, text: str) -> None:
        with pytest.raises(SettingsError, match="CORS_ORIGINS"):
            Settings(cors_origins=(text,))


def test_a_form_of_too_many_parts_is_refused(anna: Caller) -> None:
    parts = {f"field{number}": "x" for number in range(1001)}

    answer = anna.post("/v1/images/edits", data=parts, content_type="multipart/form-data")

    assert answer.status_code == 413
