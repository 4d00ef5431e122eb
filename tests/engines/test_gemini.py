"""Drawing with Google's API, against a server that says no in all of its ways."""

import json
from typing import Any

import pytest
import requests

from darkroom.configuration import EngineConfig
from darkroom.domain import InputImage, Operation, Size
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
from engines.base import Task
from engines.catalog import Catalog
from engines.fitting import fit
from engines.gemini import Gemini
from engines.gemini_errors import ADDRESS_SETTING, KEY_SETTING, METHOD_SETTING
from tests.engines.builders import Reports, a_request, a_task, opened
from tests.engines.servers.gemini import KEY, PIXELS, GeminiServer
from tests.storage.builders import encoded

PRO, OLD, IMAGEN = "gemini-3-pro-image", "gemini-2.5-flash-image", "imagen-4.0-generate-001"


@pytest.fixture
def google() -> Any:
    with GeminiServer() as server:
        yield server


@pytest.fixture
def gemini(google: GeminiServer) -> Gemini:
    return configured(base_url=google.url, api_key=google.key)


def configured(**parts: Any) -> Gemini:
    return Gemini(EngineConfig(name="gemini", **parts), Catalog())


def an_input(color: str = "red") -> InputImage:
    data = encoded("PNG", color=color, size=(64, 64))
    return InputImage(data=data, content_type="image/png", size=Size(64, 64))


def an_edit(*images: InputImage, mask: bytes | None = None) -> Task:
    return Task(
        job_id="job-1",
        model=PRO,
        request=a_request("put a hat on", operation=Operation.EDIT),
        images=images,
        mask=mask,
        timeout_s=20,
    )


def test_it_is_a_paid_engine_that_edits() -> None:
    assert Gemini.paid
    assert Operation.EDIT in Gemini.operations


def test_pictures_are_asked_for_in_so_many_words(gemini: Gemini, google: GeminiServer) -> None:
    gemini.generate(a_task(PRO, prompt="a cat"), Reports())

    assert google.draws[0].path == f"/v1beta/models/{PRO}:generateContent"
    assert google.draws[0].json() == {
        "contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
    }


@pytest.mark.parametrize("model", [PRO, OLD, "gemini-3.1-flash-image", IMAGEN])
@pytest.mark.parametrize("asked", ["1000x1000", "1920x1080", "600x900", "512x512", "4096x2304"])
def test_the_size_that_was_promised_is_drawn(gemini: Gemini, model: str, asked: str) -> None:
    described = gemini.model(model)
    assert described is not None
    fitted = fit(a_request(size=Size.parse(asked)), described)

    [image] = gemini.generate(a_task(model, size=fitted.request.size), Reports())

    assert str(Size(*opened(image.data).size)) == str(fitted.request.size)


@pytest.mark.parametrize("aspect", PIXELS)
def test_every_shape_is_asked_for_by_its_ratio(
    gemini: Gemini, google: GeminiServer, aspect: str
) -> None:
    size = Size(*PIXELS[aspect])

    gemini.generate(a_task(OLD, size=size), Reports())

    config = google.draws[0].json()["generationConfig"]
    assert config["imageConfig"] == {"aspectRatio": aspect}


def test_large_pictures_are_asked_for_with_a_capital_k(
    gemini: Gemini, google: GeminiServer
) -> None:
    gemini.generate(a_task(PRO, size=Size(4096, 4096)), Reports())

    config = google.draws[0].json()["generationConfig"]
    assert config["imageConfig"] == {"aspectRatio": "1:1", "imageSize": "4K"}


def test_there_is_no_n_so_every_picture_is_a_call(gemini: Gemini, google: GeminiServer) -> None:
    images = gemini.generate(a_task(PRO, count=3), Reports())

    assert (len(images), len(google.drawn)) == (3, 3)


def test_imagen_draws_at_most_four_in_a_call(gemini: Gemini, google: GeminiServer) -> None:
    images = gemini.generate(a_task(IMAGEN, count=6), Reports())

    counts = [each.json()["parameters"]["sampleCount"] for each in google.draws]
    assert (len(images), counts) == (6, [4, 2])


def test_what_is_already_paid_for_is_kept_when_a_later_call_fails(
    gemini: Gemini, google: GeminiServer
) -> None:
    google.next("ok", "overloaded")

    images = gemini.generate(a_task(PRO, count=3), Reports())

    assert (len(images), len(google.draws)) == (1, 2)


def test_several_pictures_and_a_mask_are_sent_with_a_word_about_the_mask(
    gemini: Gemini, google: GeminiServer
) -> None:
    mask = encoded("PNG", color="white", mode="L")

    [image] = gemini.generate(an_edit(an_input("red"), an_input("blue"), mask=mask), Reports())

    text, *inputs = google.draws[0].json()["contents"][0]["parts"]
    assert "put a hat on" in text["text"]
    assert "mask" in text["text"]
    assert [each["inlineData"]["mimeType"] for each in inputs] == ["image/png"] * 3
    assert opened(image.data).getpixel((10, 10)) == (255, 0, 0)


def test_a_seed_is_passed_on(gemini: Gemini, google: GeminiServer) -> None:
    gemini.generate(a_task(PRO, seed=0), Reports())

    assert google.draws[0].json()["generationConfig"]["seed"] == 0


@pytest.mark.parametrize("mode", ["snake_case", "jpeg"])
def test_both_casings_and_every_kind_of_picture_are_read(
    gemini: Gemini, google: GeminiServer, mode: str
) -> None:
    google.next(mode)

    [image] = gemini.generate(a_task(PRO), Reports())

    assert opened(image.data).format == ("JPEG" if mode == "jpeg" else "PNG")


def test_a_thought_is_no_picture(gemini: Gemini, google: GeminiServer) -> None:
    google.next("thought")

    [image] = gemini.generate(a_task(PRO), Reports())

    assert opened(image.data).size == (1024, 1024)


def test_no_more_pictures_are_returned_than_asked_for(gemini: Gemini, google: GeminiServer) -> None:
    google.next("two")

    assert len(gemini.generate(a_task(PRO), Reports())) == 1


@pytest.mark.parametrize(
    ("model", "mode", "kind", "words"),
    [
        (PRO, "blocked", ContentRefused, "PROHIBITED_CONTENT"),
        (PRO, "SAFETY", ContentRefused, "The model stopped: safety."),
        (PRO, "IMAGE_SAFETY", ContentRefused, "IMAGE_SAFETY"),
        (PRO, "PROHIBITED_CONTENT", ContentRefused, "PROHIBITED_CONTENT"),
        (PRO, "RECITATION", ContentRefused, "RECITATION"),
        (PRO, "text_only", ContentRefused, "I cannot draw that"),
        (PRO, "NO_IMAGE", EngineFailed, "NO_IMAGE"),
        (PRO, "IMAGE_OTHER", EngineFailed, "IMAGE_OTHER"),
        (PRO, "MAX_TOKENS", EngineFailed, "MAX_TOKENS"),
        (PRO, "no_parts", EngineFailed, "no picture"),
        (PRO, "empty", EngineFailed, "no picture"),
        (IMAGEN, "filtered", ContentRefused, "Support code 42"),
        (IMAGEN, "empty", ContentRefused, "filtered"),
    ],
)
def test_200_without_a_picture_says_why(
    gemini: Gemini,
    google: GeminiServer,
    model: str,
    mode: str,
    kind: type[EngineError],
    words: str,
) -> None:
    google.next(mode)

    with pytest.raises(kind) as caught:
        gemini.generate(a_task(model), Reports())

    assert type(caught.value) is kind
    assert words in caught.value.detail
    assert len(google.draws) == 1


def test_what_the_filter_leaves_is_returned(gemini: Gemini, google: GeminiServer) -> None:
    google.next("partly_filtered")

    assert len(gemini.generate(a_task(IMAGEN, count=4), Reports())) == 3


def test_an_entry_about_the_prompt_is_no_picture(gemini: Gemini, google: GeminiServer) -> None:
    google.next("positive")

    assert len(gemini.generate(a_task(IMAGEN, count=2), Reports())) == 2


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("per_day", QuotaExhausted, "no money or quota"),
        ("per_minute", EngineBusy, "busy"),
        ("exhausted", EngineBusy, "busy"),
        ("wrapped", EngineBusy, "Slow down."),
        ("overloaded", EngineBusy, "overloaded"),
        ("precondition", Misconfigured, "billing"),
        ("denied", Misconfigured, KEY_SETTING),
        ("unpaid", QuotaExhausted, "no money"),
        ("invalid", RequestRejected, "Invalid value"),
        ("internal", OutcomeUnknown, "status 500"),
        ("deadline", OutcomeUnknown, "status 504"),
        ("html", Misconfigured, ADDRESS_SETTING),
        ("reset", OutcomeUnknown, "lost"),
        ("cut", OutcomeUnknown, "lost"),
    ],
)
def test_every_failure_is_told_apart(
    gemini: Gemini, google: GeminiServer, mode: str, kind: type[EngineError], words: str
) -> None:
    google.next(mode)

    with pytest.raises(kind) as caught:
        gemini.generate(a_task(PRO), Reports())

    assert type(caught.value) is kind
    assert words in caught.value.detail
    assert len(google.draws) == 1


def test_the_delay_it_asks_for_is_read(gemini: Gemini, google: GeminiServer) -> None:
    google.next("per_minute")

    with pytest.raises(EngineBusy) as caught:
        gemini.generate(a_task(PRO), Reports())

    assert caught.value.retry_after_s == pytest.approx(38.2)
    assert caught.value.upstream_code == "RESOURCE_EXHAUSTED"


def test_the_field_at_fault_is_named(gemini: Gemini, google: GeminiServer) -> None:
    google.next("invalid")

    with pytest.raises(RequestRejected) as caught:
        gemini.generate(a_task(PRO), Reports())

    assert caught.value.param == "generation_config.seed"


def test_a_bad_key_comes_as_400_and_is_a_matter_for_the_admin(google: GeminiServer) -> None:
    engine = configured(base_url=google.url, api_key="AIza-wrong-key-0123456789")

    for ask in (engine.check, lambda: engine.generate(a_task(PRO), Reports())):
        with pytest.raises(Misconfigured, match=KEY_SETTING):
            ask()


@pytest.mark.parametrize(
    ("model", "method"), [("gemini-9-image", ""), (PRO, "predict"), (IMAGEN, "generateContent")]
)
def test_a_model_it_lacks_or_draws_with_otherwise_is_named(
    google: GeminiServer, model: str, method: str
) -> None:
    engine = configured(
        base_url=google.url, api_key=google.key, options={"endpoint_method": method}
    )

    with pytest.raises(ModelNotOffered) as caught:
        engine.generate(a_task(model), Reports())

    assert model in caught.value.detail
    assert METHOD_SETTING in caught.value.detail


def test_no_key_path_or_traceback_is_passed_on(gemini: Gemini, google: GeminiServer) -> None:
    google.next("leaky")

    with pytest.raises(RequestRejected) as caught:
        gemini.generate(a_task(PRO), Reports())

    for secret in (KEY, "/home/google", "Traceback"):
        assert secret not in caught.value.detail


def test_the_key_is_never_part_of_an_address(gemini: Gemini, google: GeminiServer) -> None:
    gemini.check()
    gemini.generate(a_task(PRO), Reports())

    assert all(KEY not in f"{each.path}{each.query}" for each in google.calls)


def test_its_models_are_listed_page_by_page_and_only_those_that_draw(
    gemini: Gemini, google: GeminiServer
) -> None:
    google.page_size = 2

    listed = [each.id for each in gemini.list_models()]

    assert set(listed) == {
        PRO,
        OLD,
        IMAGEN,
        "gemini-3.1-flash-image",
        "imagen-3.0-generate-002",
    }
    assert listed[0] == PRO


def test_imagen_takes_no_pictures(gemini: Gemini) -> None:
    imagen, pro = gemini.model(IMAGEN), gemini.model(PRO)
    assert imagen is not None
    assert pro is not None
    assert imagen.capabilities.max_input_images == 0
    assert pro.capabilities.max_input_images == 14


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, KEY_SETTING),
        ({"api_key": "a key\nwith a line"}, KEY_SETTING),
        ({"api_key": KEY, "base_url": "nowhere"}, ADDRESS_SETTING),
        ({"api_key": KEY, "options": {"endpoint_method": "paint"}}, METHOD_SETTING),
    ],
)
def test_what_is_missing_is_said(parts: dict[str, Any], words: str) -> None:
    assert words in (configured(**parts).missing or "")


@pytest.mark.parametrize("ending", ["", "/", "/v1beta", "/v1beta/", "/v1beta/models"])
def test_its_address_is_understood_however_it_was_pasted(google: GeminiServer, ending: str) -> None:
    engine = configured(base_url=google.origin + ending, api_key=google.key)

    assert "lists" in engine.check()


def test_vertex_is_signed_with_a_token() -> None:
    engine = configured(
        base_url="https://europe-west4-aiplatform.googleapis.com/v1beta1/projects/p/locations/l/publishers/google",
        api_key="ya29.token",
    )

    assert engine.address.headers("ya29.token") == {"Authorization": "Bearer ya29.token"}


def test_a_waiting_call_can_be_stopped(gemini: Gemini, google: GeminiServer) -> None:
    google.next("hang")

    def stop() -> None:
        if google.hanging.is_set():
            raise Canceled("Stop.")

    with pytest.raises(Canceled):
        gemini.generate(a_task(PRO), Reports(until=stop))


def test_nobody_there_means_that_nothing_was_drawn() -> None:
    with GeminiServer() as server:
        address = server.url
    engine = configured(base_url=address, api_key=KEY)

    with pytest.raises(EngineUnreachable):
        engine.generate(a_task(PRO), Reports())


@pytest.mark.parametrize("mode", ["thought", "text_only", "SAFETY", "wrapped", "snake_case"])
def test_a_naive_client_is_fooled(google: GeminiServer, mode: str) -> None:
    """One that takes the first part of the first candidate for the picture."""
    google.next(mode)

    answer = requests.post(
        f"{google.url}/models/{PRO}:generateContent",
        headers={"x-goog-api-key": google.key},
        json={
            "contents": [{"parts": [{"text": "a cat"}]}],
            "generationConfig": {"responseModalities": ["IMAGE"]},
        },
        timeout=10,
    )

    def naive() -> str:
        content = json.loads(answer.content)["candidates"][0]["content"]["parts"]
        picture = next(each["inlineData"] for each in content if "inlineData" in each)
        assert len(picture["data"]) > 1000, "a draft"
        return str(picture["data"])

    with pytest.raises((KeyError, StopIteration, TypeError, AssertionError)):
        naive()
