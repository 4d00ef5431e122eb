"""Drawing with OpenAI's API, against a server that is as strict and as moody as the real one."""

from dataclasses import replace
from typing import Any

import pytest

from darkroom.configuration import FIELDS_BY_NAME, EngineConfig
from darkroom.domain import Size
from darkroom.errors import (
    Canceled,
    ContentRefused,
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    ModelNotOffered,
    OutcomeUnknown,
    QuotaExhausted,
    RequestRejected,
)
from engines.catalog import Catalog
from engines.fitting import fit
from engines.openai_errors import ADDRESS_SETTING, KEY_SETTING, MODEL_SETTING
from engines.openai_images import VERSION_SETTING, OpenAIImages
from tests.engines.builders import Reports, a_request, a_task, openai_config, opened
from tests.engines.servers.openai import API_VERSION, OpenAIServer


def configured(**parts: Any) -> OpenAIImages:
    return OpenAIImages(EngineConfig(name="openai", **parts), Catalog())


def test_it_is_a_paid_engine() -> None:
    assert OpenAIImages.paid


def test_only_what_was_asked_for_is_sent(openai: OpenAIImages, server: OpenAIServer) -> None:
    openai.generate(a_task("gpt-image-2", prompt="a cat"), Reports())

    assert server.calls[0].body == {"model": "gpt-image-2", "prompt": "a cat", "n": 1}


def test_everything_asked_for_is_sent(openai: OpenAIImages, server: OpenAIServer) -> None:
    task = a_task(
        "gpt-image-1.5",
        prompt="a cat",
        count=2,
        size=Size(1536, 1024),
        quality="low",
        output_format="webp",
        background="transparent",
    )

    openai.generate(task, Reports())

    assert server.calls[0].body == {
        "model": "gpt-image-1.5",
        "prompt": "a cat",
        "n": 2,
        "size": "1536x1024",
        "quality": "low",
        "output_format": "webp",
        "background": "transparent",
    }


def test_dall_e_is_asked_for_pictures_and_not_for_links(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    openai.generate(a_task("dall-e-2", count=3), Reports())

    assert server.calls[0].body["response_format"] == "b64_json"
    assert server.calls[0].body["n"] == 3


@pytest.mark.parametrize("model", ["gpt-image-1.5", "gpt-image-2"])
def test_response_format_and_style_are_never_sent_to_gpt_models(
    openai: OpenAIImages, server: OpenAIServer, model: str
) -> None:
    described = openai.model(model)
    assert described is not None
    asked = a_request(quality="low", seed=1, negative_prompt="fog", steps=4)
    task = replace(a_task(model), request=fit(asked, described).request)

    openai.generate(task, Reports())

    # The vendor refuses every field that it does not know.
    assert server.calls[0].body.keys() == {"model", "prompt", "n", "quality"}


@pytest.mark.parametrize(
    ("model", "asked", "drawn"),
    [
        ("dall-e-2", "640x480", "512x512"),
        ("dall-e-3", "640x480", "1792x1024"),
        ("gpt-image-1.5", "1920x1080", "1536x1024"),
        ("gpt-image-2", "1001x1001", "1008x1008"),
    ],
)
def test_a_size_outside_a_models_table_is_fitted_before_it_is_sent(
    openai: OpenAIImages, server: OpenAIServer, model: str, asked: str, drawn: str
) -> None:
    described = openai.model(model)
    assert described is not None

    fitted = fit(a_request(size=Size.parse(asked)), described)
    openai.generate(a_task(model, size=fitted.request.size), Reports())

    assert server.calls[0].body["size"] == drawn
    assert f"cannot draw {asked}" in fitted.warnings[0]


def test_dall_e_3_draws_one_picture_per_call_and_tells_its_prompt(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    images = openai.generate(a_task("dall-e-3", prompt="a cat", count=3), Reports())

    assert [each.body["n"] for each in server.generations] == [1, 1, 1]
    assert [each.revised_prompt for each in images] == ["a cat, in detail"] * 3


@pytest.mark.parametrize("mode", ["quota", "server_error", "reset", "moderation"])
def test_pictures_that_are_paid_for_survive_a_later_failure(
    openai: OpenAIImages, server: OpenAIServer, mode: str
) -> None:
    server.fail("ok", "ok", mode)

    images = openai.generate(a_task("dall-e-3", count=4), Reports())

    assert len(images) == 2
    assert len(server.generations) == 3


def test_a_failure_of_the_first_call_fails_the_job(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.fail("quota")

    with pytest.raises(QuotaExhausted):
        openai.generate(a_task("dall-e-3", count=4), Reports())


def test_canceling_between_two_calls_stops_even_with_pictures_in_hand(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    def stop() -> None:
        if server.generations:
            raise Canceled("Stop.")

    with pytest.raises(Canceled):
        openai.generate(a_task("dall-e-3", count=4), Reports(until=stop))

    assert len(server.generations) == 1


def test_canceling_while_it_draws_ends_the_wait(openai: OpenAIImages, server: OpenAIServer) -> None:
    server.fail("hang")

    def stop() -> None:
        if server.hanging.is_set():
            raise Canceled("Stop.")

    with pytest.raises(Canceled):
        openai.generate(a_task(timeout_s=60), Reports(until=stop))


def test_fewer_pictures_than_asked_for_are_returned_as_they_are(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.fail("fewer")

    assert len(openai.generate(a_task(count=3), Reports())) == 2


def test_a_broken_picture_does_not_spoil_the_others(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.fail("some_bad")

    assert len(openai.generate(a_task(count=3), Reports())) == 2


@pytest.mark.parametrize("mode", ["data_prefix", "url"])
def test_pictures_of_compatible_servers_are_read_in_their_forms(
    openai: OpenAIImages, server: OpenAIServer, mode: str
) -> None:
    server.fail(mode)

    images = openai.generate(a_task(count=2), Reports())

    assert [opened(each.data).format for each in images] == ["PNG", "PNG"]


def test_the_key_is_sent_to_the_engines_own_links(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.fail("url")

    openai.generate(a_task(), Reports())

    assert server.calls[-1].headers["authorization"] == f"Bearer {server.key}"


def test_the_key_is_not_sent_to_foreign_links(openai: OpenAIImages, server: OpenAIServer) -> None:
    with OpenAIServer() as elsewhere:
        elsewhere.files = server.files
        server.files_origin = elsewhere.origin
        server.fail("url")

        images = openai.generate(a_task(), Reports())

        assert opened(images[0].data).format == "PNG"
        assert "authorization" not in elsewhere.calls[0].headers


def test_a_link_that_is_dead_is_tried_again_and_then_named(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.fail("dead_url")

    with pytest.raises(EngineFailed, match=r"cannot be downloaded.*404"):
        openai.generate(a_task(), Reports())

    assert len(server.generations) == 1
    assert len(server.calls) == 3


@pytest.mark.parametrize("mode", ["no_data", "empty", "bad_base64"])
def test_a_200_without_pictures_is_a_failure(
    openai: OpenAIImages, server: OpenAIServer, mode: str
) -> None:
    server.fail(mode)

    with pytest.raises(EngineFailed):
        openai.generate(a_task(count=2), Reports())


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("moderation", ContentRefused),
        ("content_policy", ContentRefused),
        ("azure_filter", ContentRefused),
        ("refused_in_words", ContentRefused),
        ("refused_picture", ContentRefused),
        ("billing", QuotaExhausted),
        ("quota", QuotaExhausted),
        ("spend_limit", QuotaExhausted),
        ("no_credit", QuotaExhausted),
        ("country", Misconfigured),
        ("organization", ModelNotOffered),
        ("no_model_400", ModelNotOffered),
        ("no_model_404", ModelNotOffered),
        ("no_model_403", ModelNotOffered),
        ("no_deployment", ModelNotOffered),
        ("redirect", Misconfigured),
        ("html_200", Misconfigured),
        ("too_large", RequestRejected),
        ("bad_media", RequestRejected),
        ("bad_picture", RequestRejected),
        ("picture_too_large", RequestRejected),
        ("picture_not_base64", RequestRejected),
        ("conflict", EngineBusy),
        ("rate_limited", EngineBusy),
        ("slow_down", EngineBusy),
        ("overloaded", EngineBusy),
        ("timeout_408", OutcomeUnknown),
        ("server_error", OutcomeUnknown),
        ("html_502", OutcomeUnknown),
        ("gateway_504", OutcomeUnknown),
        ("html_524", OutcomeUnknown),
        ("cut", OutcomeUnknown),
        ("reset", OutcomeUnknown),
    ],
)
def test_every_failure_has_its_error(
    openai: OpenAIImages, server: OpenAIServer, mode: str, expected: type[EngineError]
) -> None:
    server.fail(mode)

    with pytest.raises(EngineError) as caught:
        openai.generate(a_task(), Reports())

    assert type(caught.value) is expected
    assert "'openai'" in caught.value.detail
    assert "<" not in caught.value.detail
    assert len(server.generations) == 1


@pytest.mark.parametrize(
    ("mode", "seconds"),
    [("rate_limited", 7.0), ("slow_down", 1.5), ("overloaded", 3.0), ("conflict", None)],
)
def test_a_busy_engine_says_when_to_come_back(
    openai: OpenAIImages, server: OpenAIServer, mode: str, seconds: float | None
) -> None:
    server.fail(mode)

    with pytest.raises(EngineBusy) as caught:
        openai.generate(a_task(), Reports())

    assert caught.value.retry_after_s == seconds


def test_an_engine_that_hangs_is_given_up_at_the_deadline(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.fail("hang")

    with pytest.raises(OutcomeUnknown):
        openai.generate(a_task(timeout_s=0.3), Reports())


def test_a_refused_parameter_is_named(openai: OpenAIImages) -> None:
    with pytest.raises(RequestRejected, match="'potato'") as caught:
        openai.generate(a_task(quality="potato"), Reports())

    assert caught.value.param == "quality"
    assert caught.value.upstream_status == 400


@pytest.mark.parametrize("mode", ["bad_picture", "picture_too_large", "picture_not_base64"])
def test_a_picture_that_cannot_be_used_is_named(
    openai: OpenAIImages, server: OpenAIServer, mode: str
) -> None:
    server.fail(mode)

    with pytest.raises(RequestRejected, match="PNG, JPEG or WebP") as caught:
        openai.generate(a_task(), Reports())

    assert caught.value.param == "image"


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("moderation", "moderation_blocked"),
        ("billing", "billing_hard_limit_reached"),
        ("organization", "invalid_request_error"),
        ("server_error", "server_error"),
    ],
)
def test_a_failure_carries_the_vendors_code_and_the_id_of_the_call(
    openai: OpenAIImages, server: OpenAIServer, mode: str, code: str
) -> None:
    server.fail(mode)

    with pytest.raises(EngineError) as caught:
        openai.generate(a_task(), Reports())

    assert caught.value.upstream_code == code
    assert caught.value.upstream_request_id == "req_1"


def test_what_a_prompt_was_refused_for_is_told(openai: OpenAIImages, server: OpenAIServer) -> None:
    server.fail("moderation")

    with pytest.raises(ContentRefused, match=r"safety_violations=\[violence\]"):
        openai.generate(a_task(), Reports())


def test_a_retired_model_is_named_with_the_day_it_ended(server: OpenAIServer) -> None:
    openai = OpenAIImages(openai_config(server), Catalog())
    server.fail("no_model_404")

    with pytest.raises(Misconfigured, match=r"'dall-e-3'.*2026-05-12.*choose one"):
        openai.generate(a_task("dall-e-3"), Reports())


def test_a_401_names_the_setting_of_the_key_and_never_shows_it(server: OpenAIServer) -> None:
    key = "sk-proj-wrong-and-secret"
    openai = configured(base_url=server.url, api_key=key)

    for call in (lambda: openai.generate(a_task(), Reports()), openai.check):
        with pytest.raises(Misconfigured, match="DARKROOM_IMAGES_OPENAI_API_KEY") as caught:
            call()
        assert "wrong-and-secret" not in caught.value.detail


def test_what_the_engine_says_is_passed_on_without_secrets_and_paths(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    server.fail("leaky")

    with pytest.raises(RequestRejected) as caught:
        openai.generate(a_task(), Reports())

    assert "Incorrect key" in caught.value.detail
    for secret in (server.key, "/srv", "abcd1234"):
        assert secret not in caught.value.detail


def test_an_admins_extra_fields_win_but_never_replace_what_was_asked(
    server: OpenAIServer,
) -> None:
    params = {"quality": "low", "moderation": "low", "prompt": "x", "model": "y", "n": 9}
    openai = OpenAIImages(openai_config(server, params=params | {"mask": "x"}), Catalog())

    openai.generate(a_task(prompt="a cat", quality="high"), Reports())

    assert server.calls[0].body == {
        "model": "gpt-image-2",
        "prompt": "a cat",
        "n": 1,
        "quality": "low",
        "moderation": "low",
    }


def test_azures_older_form_is_called_by_deployment_with_its_own_header() -> None:
    with OpenAIServer(azure=True) as azure:
        openai = OpenAIImages(openai_config(azure, api_version=API_VERSION), Catalog())

        images = openai.generate(a_task("gpt-image-2"), Reports())

        assert len(images) == 1
        assert azure.calls[0].path == "/openai/deployments/gpt-image-2/images/generations"
        assert azure.calls[0].query == {"api-version": [API_VERSION]}
        assert azure.calls[0].body["model"] == "gpt-image-2"
        assert "authorization" not in azure.calls[0].headers
        assert openai.check().endswith("models.")


def test_the_base_address_may_be_given_without_its_version(server: OpenAIServer) -> None:
    openai = configured(base_url=f"{server.origin}/", api_key=server.key)

    assert len(openai.generate(a_task(), Reports())) == 1


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ({}, "DARKROOM_IMAGES_OPENAI_API_KEY"),
        ({"base_url": "https://api.openai.com/v1/"}, "DARKROOM_IMAGES_OPENAI_API_KEY"),
        ({"api_key": "sk-ключ"}, "DARKROOM_IMAGES_OPENAI_API_KEY"),
        ({"api_key": "sk-1\nsk-2"}, "DARKROOM_IMAGES_OPENAI_API_KEY"),
        ({"base_url": "localhost:8080"}, "DARKROOM_IMAGES_OPENAI_API_BASE_URL"),
        (
            {"base_url": "https://r.openai.azure.com", "api_key": "k"},
            "DARKROOM_IMAGES_OPENAI_API_VERSION",
        ),
    ],
)
def test_what_is_missing_is_named_by_its_setting(parts: dict[str, Any], missing: str) -> None:
    openai = configured(**parts)

    assert openai.missing
    assert openai.missing is not None
    assert missing in openai.missing


@pytest.mark.parametrize(
    "parts", [{"api_key": "sk-1"}, {"base_url": "http://localhost:8080"}, {"api_key": " sk-1\n"}]
)
def test_a_key_or_an_own_server_is_enough(parts: dict[str, Any]) -> None:
    assert configured(**parts).missing is None


def test_a_check_says_how_many_models_there_are(openai: OpenAIImages) -> None:
    assert openai.check() == "Engine 'openai' answers and lists 17 models."


def test_a_check_of_the_wrong_address_names_the_setting(server: OpenAIServer) -> None:
    openai = configured(base_url=f"{server.origin}/v7", api_key=server.key)

    with pytest.raises(Misconfigured, match="DARKROOM_IMAGES_OPENAI_API_BASE_URL"):
        openai.check()


def test_a_check_of_a_server_that_is_down_says_so(server: OpenAIServer) -> None:
    address = server.url
    server.__exit__(None, None, None)

    with pytest.raises(EngineUnreachable):
        configured(base_url=address, api_key="k").check()


def test_settings_named_in_messages_exist() -> None:
    named = {KEY_SETTING, ADDRESS_SETTING, MODEL_SETTING, VERSION_SETTING}

    assert {each.removeprefix("DARKROOM_") for each in named} <= FIELDS_BY_NAME.keys()
