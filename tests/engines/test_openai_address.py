"""The forms in which people paste an address."""

import pytest

from engines.openai_address import Address

VERSION = "2025-04-01-preview"


@pytest.mark.parametrize(
    ("pasted", "called"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://api.openai.com", "https://api.openai.com/v1"),
        ("  https://api.openai.com/ ", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/images/generations", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/images/edits", "https://api.openai.com/v1"),
        ("http://localhost:8080", "http://localhost:8080/v1"),
        ("http://user:pass@gateway/openai-proxy/v2", "http://gateway/openai-proxy/v2"),
        ("https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai/v1"),
    ],
)
def test_pictures_are_asked_for_below_the_base_address(pasted: str, called: str) -> None:
    address = Address.parse(pasted)

    assert address.generations("m") == f"{called}/images/generations"
    assert address.edits("m") == f"{called}/images/edits"
    assert address.models() == f"{called}/models"
    assert address.headers("k") == {"Authorization": "Bearer k"}


@pytest.mark.parametrize(
    ("pasted", "called"),
    [
        ("https://r.openai.azure.com", "https://r.openai.azure.com/openai/deployments/my%20m"),
        (
            "https://r.openai.azure.com/openai",
            "https://r.openai.azure.com/openai/deployments/my%20m",
        ),
        (
            "https://gateway/openai/deployments/",
            "https://gateway/openai/deployments/my%20m",
        ),
        (
            "https://gateway/x/openai/deployments/fixed/images/generations",
            "https://gateway/x/openai/deployments/fixed",
        ),
    ],
)
def test_azures_older_form_has_an_address_per_deployment(pasted: str, called: str) -> None:
    address = Address.parse(pasted, VERSION)

    assert address.generations("my m") == f"{called}/images/generations?api-version={VERSION}"
    assert address.edits("my m") == f"{called}/images/edits?api-version={VERSION}"
    assert (
        address.models() == f"{called.partition('/openai/')[0]}/openai/models?api-version={VERSION}"
    )
    assert address.headers("k") == {"api-key": "k"}
    assert address.headers("eyJ0.x.y") == {"Authorization": "Bearer eyJ0.x.y"}


def test_an_api_version_is_sent_wherever_it_is_set_or_pasted() -> None:
    set_by_admin = Address.parse("http://gateway/v1", "preview")
    pasted = Address.parse("https://r.openai.azure.com/openai?api-version=2024-10-21")

    assert set_by_admin.generations("m").endswith("/v1/images/generations?api-version=preview")
    assert pasted.api_version == "2024-10-21"


@pytest.mark.parametrize(
    "pasted", ["localhost:8080", "api.openai.com/v1", "http://", "http://[::1"]
)
def test_what_is_no_web_address_is_refused(pasted: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Address.parse(pasted)


@pytest.mark.parametrize(
    ("pasted", "is_vendor"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://api.openai.com.evil.example/v1", False),
        ("http://localhost/v1", False),
    ],
)
def test_the_vendor_is_known_by_its_host(pasted: str, is_vendor: bool) -> None:
    assert Address.parse(pasted).is_vendor is is_vendor


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("http://host:8080/generated/1.png", True),
        ("http://HOST:8080/x", True),
        ("https://host:8080/x", False),
        ("http://host/x", False),
        ("http://host:8080@evil/x", False),
    ],
)
def test_only_the_server_itself_may_see_the_key(url: str, is_ours: bool) -> None:
    assert Address.parse("http://host:8080/v1").owns(url) is is_ours
