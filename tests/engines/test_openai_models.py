"""Which models an OpenAI-style server offers, as it lists them now."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from darkroom.configuration import EngineConfig
from darkroom.errors import EngineUnreachable, Misconfigured, ModelNotOffered
from engines import openai_address
from engines.catalog import Catalog
from engines.openai_images import OpenAIImages
from tests.engines.builders import Reports, a_task, openai_config
from tests.engines.servers.openai import API_VERSION, OpenAIServer
from tests.engines.servers.openai_rules import MODELS, WRITERS


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in, taken for OpenAI itself."""
    monkeypatch.setattr(openai_address, "VENDOR_HOST", "127.0.0.1")


def entries(*names: str, **rest: Any) -> list[Any]:
    return [{"id": each, "object": "model"} | rest for each in names]


def listed(openai: OpenAIImages) -> list[str]:
    return [each.id for each in openai.list_models()]


def test_models_that_draw_are_picked_from_all_that_are_listed(openai: OpenAIImages) -> None:
    assert set(listed(openai)) == MODELS.keys()
    assert set(listed(openai)).isdisjoint(WRITERS)


def test_the_best_comes_first_and_those_that_are_switched_off_last(openai: OpenAIImages) -> None:
    models = openai.list_models()

    assert models[0].id == "gpt-image-2"
    assert [each.id for each in models[-3:]] == ["gpt-image-1", "dall-e-3", "dall-e-2"]
    assert models[-1].retired_on == "2026-05-12"


def test_what_is_known_of_a_model_is_kept(openai: OpenAIImages) -> None:
    by_id = {each.id: each for each in openai.list_models()}

    assert by_id["dall-e-3"].capabilities.qualities == ("standard", "hd")
    assert by_id["gpt-image-2"].name == "GPT Image 2"


def test_the_shutdown_date_that_the_vendor_lists_is_taken(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.listing = [
        *entries("gpt-image-2", shutdown_date="2026-01-01"),
        *entries("gpt-image-1.5", shutdown_date="2099-01-01"),
        *entries("gpt-image-1-mini", shutdown_date="soon"),
    ]

    models = openai.list_models()

    assert [(each.id, each.retired_on) for each in models] == [
        # It has years to go.
        ("gpt-image-1.5", "2099-01-01"),
        ("gpt-image-1-mini", None),
        ("gpt-image-2", "2026-01-01"),
    ]


def test_a_model_that_nobody_described_comes_after_those_that_are_known(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.listing = entries("gpt-image-9", "gpt-image-2")

    assert listed(openai) == ["gpt-image-2", "gpt-image-9"]


@pytest.mark.usefixtures("vendor")
def test_openai_itself_offers_no_model_that_it_does_not_list(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.listing = entries("gpt-5.2", "gpt-image-1.5")
    assert listed(openai) == ["gpt-image-1.5"]

    server.listing = entries("gpt-5.2")
    assert listed(openai) == []


@pytest.mark.parametrize(
    "names", [("stable-diffusion-3.5", "llama-3"), ("FLUX.1-schnell",), ("sdxl-turbo", "qwen")]
)
def test_models_of_other_servers_are_told_by_the_names_of_free_ones(
    openai: OpenAIImages, server: OpenAIServer, names: tuple[str, ...]
) -> None:
    server.listing = entries(*names)

    assert listed(openai) == [names[0]]


def test_where_no_name_tells_all_models_of_another_server_are_taken(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.listing = entries("ours", "theirs")

    assert listed(openai) == ["ours", "theirs"]


def test_another_server_that_lists_nothing_may_have_any_known_model(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.listing = [None, {"name": "no id"}]

    assert listed(openai) == [each.id for each in openai.models()]


def test_a_model_that_an_admin_described_need_not_be_listed(
    server: OpenAIServer, tmp_path: Path
) -> None:
    file = tmp_path / "models.json"
    file.write_bytes(orjson.dumps({"openai": {"ours": {"max_count": 2}}}))
    server.listing = entries("gpt-image-2", "llama-3")

    models = OpenAIImages(openai_config(server), Catalog.load(file)).list_models()

    assert [(each.id, each.capabilities.max_count) for each in models] == [
        ("gpt-image-2", 10),
        ("ours", 2),
    ]


def test_azures_older_form_lists_what_could_be_deployed_so_the_known_models_stay() -> None:
    with OpenAIServer(azure=True) as azure:
        azure.listing = entries("gpt-5.2")
        openai = OpenAIImages(openai_config(azure, api_version=API_VERSION), Catalog())

        assert listed(openai) == [each.id for each in openai.models()]


def test_a_server_that_cannot_be_asked_says_why(server: OpenAIServer) -> None:
    wrong_key = EngineConfig(name="openai", base_url=server.url, api_key="sk-wrong")
    with pytest.raises(Misconfigured) as caught:
        OpenAIImages(wrong_key, Catalog()).list_models()
    assert caught.value.upstream_code == "invalid_api_key"

    config = openai_config(server)
    server.__exit__(None, None, None)
    with pytest.raises(EngineUnreachable):
        OpenAIImages(config, Catalog()).list_models()


def test_a_model_that_is_listed_may_still_be_refused() -> None:
    with OpenAIServer(verified=False) as server:
        openai = OpenAIImages(openai_config(server), Catalog())

        assert "gpt-image-2" in listed(openai)
        with pytest.raises(ModelNotOffered, match="organization"):
            openai.generate(a_task("gpt-image-2"), Reports())
        assert server.drawn == []
