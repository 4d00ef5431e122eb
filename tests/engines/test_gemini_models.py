"""Where Google's API is, whether it can be used, and which models it offers."""

from typing import Any

import pytest
import requests

from darkroom.errors import EngineUnreachable, Misconfigured
from engines.gemini import Gemini
from engines.gemini_address import Address
from tests.engines.builders import Reports, a_task
from tests.engines.gemini_builders import MODEL, configured, gemini_for
from tests.engines.servers.gemini import GeminiServer

GOOGLE = "https://generativelanguage.googleapis.com"
CLOUD = "https://us-central1-aiplatform.googleapis.com"
PROJECT = "/v1/projects/p/locations/us-central1/publishers/google"


@pytest.mark.parametrize(
    ("pasted", "base"),
    [
        (GOOGLE, f"{GOOGLE}/v1beta"),
        (f"{GOOGLE}/", f"{GOOGLE}/v1beta"),
        (f" {GOOGLE}/v1/ ", f"{GOOGLE}/v1"),
        (f"{GOOGLE}/v1beta/models", f"{GOOGLE}/v1beta"),
        (f"{GOOGLE}/v1beta/models/{MODEL}:generateContent?key=secret", f"{GOOGLE}/v1beta"),
        ("http://me:secret@Proxy:8080/google/v1beta/", "http://proxy:8080/google/v1beta"),
    ],
)
def test_an_address_is_read_in_every_form_people_paste(pasted: str, base: str) -> None:
    assert Address.parse(pasted).base == base


@pytest.mark.parametrize("text", ["", "localhost:80", "ftp://host", "https://"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Address.parse(text)


def test_google_cloud_is_signed_with_a_token_and_lists_by_publisher() -> None:
    address = Address.parse(CLOUD + PROJECT)

    assert address.is_vendor
    assert address.headers("ya29.x") == {"Authorization": "Bearer ya29.x"}
    assert address.method(MODEL, "predict") == f"{CLOUD}{PROJECT}/models/{MODEL}:predict"
    assert address.models().startswith(f"{CLOUD}/v1beta1/publishers/google/models?")


def test_a_host_that_only_looks_like_google_is_not() -> None:
    assert not Address.parse("https://generativelanguage.googleapis.com.example/v1").is_vendor
    assert not Address.parse("https://evilaiplatform.googleapis.com.example/v1").is_vendor


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ({}, "DARKROOM_IMAGES_GEMINI_API_KEY"),
        ({"base_url": f"{GOOGLE}/v1"}, "DARKROOM_IMAGES_GEMINI_API_KEY"),
        ({"base_url": CLOUD + PROJECT}, "DARKROOM_IMAGES_GEMINI_API_KEY"),
        ({"api_key": "ключ"}, "DARKROOM_IMAGES_GEMINI_API_KEY"),
        ({"base_url": "localhost:8080"}, "DARKROOM_IMAGES_GEMINI_API_BASE_URL"),
        ({"base_url": CLOUD, "api_key": "k"}, "DARKROOM_IMAGES_GEMINI_API_BASE_URL"),
        (
            {"api_key": "k", "options": {"endpoint_method": "draw"}},
            "DARKROOM_IMAGES_GEMINI_ENDPOINT_METHOD",
        ),
    ],
)
def test_what_is_missing_is_named_by_its_setting(parts: dict[str, Any], missing: str) -> None:
    assert missing in (configured(**parts).missing or "")


@pytest.mark.parametrize(
    "parts",
    [
        {"api_key": " k\n"},
        {"base_url": "http://localhost:8080"},
        {"api_key": "k", "options": {"endpoint_method": "predict"}},
        {"base_url": CLOUD + PROJECT, "api_key": "ya29.x"},
    ],
)
def test_a_key_or_an_own_server_is_enough(parts: dict[str, Any]) -> None:
    assert configured(**parts).missing is None


@pytest.mark.parametrize("path", ["", "/", "/v1beta/", "/v1", "/v1beta/models"])
def test_the_base_address_may_have_a_version_or_none(google: GeminiServer, path: str) -> None:
    gemini = configured(base_url=f"{google.origin}{path}", api_key=google.key)

    assert len(gemini.generate(a_task(MODEL), Reports())) == 1


def test_models_that_google_switched_off_are_offered_by_other_servers_only(
    google: GeminiServer,
) -> None:
    at_google = [each.id for each in configured(api_key="k").models()]
    elsewhere = [each.id for each in gemini_for(google).models()]

    assert at_google[0] == MODEL
    assert "imagen-4.0-generate-001" not in at_google
    assert "gemini-2.5-flash-image" not in at_google
    assert {"imagen-4.0-generate-001", "gemini-2.5-flash-image", *at_google} <= set(elsewhere)


@pytest.mark.parametrize("page_size", [1, 5, 50])
def test_all_pages_of_the_list_are_read(
    gemini: Gemini, google: GeminiServer, page_size: int
) -> None:
    google.page_size = page_size

    models = gemini.list_models()

    assert [each.id for each in models] == [
        "gemini-3-pro-image",
        "gemini-nano-banana-2.1",
        "gemini-3.1-flash-image",
        "gemini-3.1-flash-lite-image",
        "gemini-2.5-flash-image",
        "imagen-4.0-ultra-generate-001",
        "imagen-4.0-generate-001",
        "imagen-4.0-fast-generate-001",
        "imagen-3.0-generate-002",
        "gemini-9-new-image",
    ]


def test_a_listed_model_that_nobody_described_keeps_its_own_name(gemini: Gemini) -> None:
    unknown = gemini.list_models()[-1]

    assert (unknown.id, unknown.name) == ("gemini-9-new-image", "Gemini 9 New Image")
    assert unknown.capabilities == gemini.model("gemini-9-new-image").capabilities


def test_a_check_asks_for_the_list_only(gemini: Gemini, google: GeminiServer) -> None:
    assert gemini.check() == "Engine 'gemini' answers and lists 10 models that draw."
    assert google.generations == []


@pytest.mark.parametrize("path", ["/v7", "/some/where"])
def test_a_check_of_the_wrong_address_names_the_setting(google: GeminiServer, path: str) -> None:
    gemini = configured(base_url=f"{google.origin}{path}", api_key=google.key)

    with pytest.raises(Misconfigured, match="DARKROOM_IMAGES_GEMINI_API_BASE_URL"):
        gemini.check()


def test_a_check_of_a_server_that_is_down_says_so(google: GeminiServer) -> None:
    address = google.url
    google.__exit__(None, None, None)

    with pytest.raises(EngineUnreachable):
        configured(base_url=address, api_key="k").check()


def test_a_naive_client_that_reads_one_page_misses_models(google: GeminiServer) -> None:
    google.page_size = 5
    headers = {"x-goog-api-key": google.key}

    page = requests.get(f"{google.url}/models?pageSize=1000", headers=headers, timeout=10).json()

    assert len(page["models"]) == 5
    assert page["nextPageToken"]
