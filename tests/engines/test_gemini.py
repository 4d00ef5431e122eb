"""Drawing and editing with Google's API, against a server as strict as the real one."""

import base64
from dataclasses import replace
from typing import Any

import pytest
import requests

from darkroom.domain import MaskSupport, Operation, Size
from darkroom.errors import Canceled, EngineError, EngineFailed, QuotaExhausted
from engines.catalog import Catalog
from engines.fitting import fit
from engines.gemini import Gemini
from engines.gemini_sizes import CONTENT_RATIOS, frame_of
from tests.engines.builders import Reports, a_request, a_task, opened
from tests.engines.gemini_builders import IMAGEN, MODEL, an_input, encoded
from tests.engines.servers.gemini import GeminiServer
from tests.engines.servers.gemini_faults import KEY
from tests.engines.servers.gemini_rules import MODELS, TIMES


def test_it_is_a_paid_engine_that_edits() -> None:
    assert Gemini.paid
    assert not Gemini.resumes
    assert Operation.EDIT in Gemini.operations


def test_only_what_was_asked_for_is_sent(gemini: Gemini, google: GeminiServer) -> None:
    gemini.generate(a_task(MODEL, prompt="a cat"), Reports())

    assert google.calls[0].path == f"/v1beta/models/{MODEL}:generateContent"
    assert google.bodies == [
        {
            "contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
            "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
        }
    ]


def test_the_key_travels_in_a_header_and_never_in_the_address(
    gemini: Gemini, google: GeminiServer
) -> None:
    gemini.generate(a_task(MODEL), Reports())
    gemini.check()

    for call in google.calls:
        assert call.headers["x-goog-api-key"] == google.key
        assert "key" not in call.query


def test_a_size_is_sent_as_ratio_and_resolution(gemini: Gemini, google: GeminiServer) -> None:
    gemini.generate(a_task(MODEL, size=Size(2752, 1536), seed=7), Reports())

    assert google.bodies[0]["generationConfig"] == {
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
        "seed": 7,
    }


def test_a_model_with_one_resolution_is_not_asked_for_it(
    gemini: Gemini, google: GeminiServer
) -> None:
    gemini.generate(a_task("gemini-2.5-flash-image", size=Size(832, 1248)), Reports())

    assert google.bodies[0]["generationConfig"]["imageConfig"] == {"aspectRatio": "2:3"}


@pytest.mark.parametrize(
    ("model", "asked", "drawn"),
    [
        (MODEL, "1000x1000", "1024x1024"),
        (MODEL, "1280x1280", "1024x1024"),
        (MODEL, "1281x1281", "2048x2048"),
        (MODEL, "1920x1080", "2752x1536"),
        (MODEL, "9000x9000", "4096x4096"),
        (MODEL, "400x400", "1024x1024"),
        ("gemini-3.1-flash-image", "400x400", "512x512"),
        ("gemini-3.1-flash-image", "100x1000", "192x1536"),
        ("gemini-2.5-flash-image", "1920x1080", "1344x768"),
        (IMAGEN, "1000x700", "1280x896"),
        ("imagen-4.0-fast-generate-001", "3000x3000", "1024x1024"),
    ],
)
def test_a_size_between_the_buckets_is_fitted_with_a_warning(
    gemini: Gemini, google: GeminiServer, model: str, asked: str, drawn: str
) -> None:
    fitted = fit(a_request(size=Size.parse(asked)), gemini.model(model))

    assert f"cannot draw {asked}, the nearest it can is {drawn}" in fitted.warnings[0]
    if max(Size.parse(drawn).width, Size.parse(drawn).height) <= 2048:
        images = gemini.generate(a_task(model, size=fitted.request.size), Reports())
        assert opened(images[0].data).size == (
            Size.parse(drawn).width,
            Size.parse(drawn).height,
        )


@pytest.mark.parametrize("model", Catalog().models("gemini"), ids=lambda each: each.id)
def test_every_size_of_the_catalog_is_one_the_server_knows(model: Any) -> None:
    family = MODELS[model.id]
    assert family is not None
    ratios = tuple(family.pixels) if family.method == "predict" else CONTENT_RATIOS
    for size in model.capabilities.sizes:
        frame = frame_of(size, ratios)
        width, height = family.pixels[frame.ratio]
        times = TIMES[frame.resolution]
        assert frame.resolution in (family.resolutions or ("1K",))
        assert size == Size(int(width * times), int(height * times))


def test_there_is_no_n_so_each_picture_is_a_call_with_a_seed_of_its_own(
    gemini: Gemini, google: GeminiServer
) -> None:
    images = gemini.generate(a_task(MODEL, count=3, seed=2**31 - 2), Reports())

    sent = [each["generationConfig"]["seed"] for each in google.bodies]
    assert sent == [2**31 - 2, 2**31 - 1, 0]
    assert [each.seed for each in images] == sent


def test_several_pictures_in_one_answer_save_further_calls(
    gemini: Gemini, google: GeminiServer
) -> None:
    google.fail("several")

    assert len(gemini.generate(a_task(MODEL, count=2), Reports())) == 2
    assert len(google.drawn) == 1


@pytest.mark.parametrize(
    "mode", ["per_day", "internal", "reset", "finish:IMAGE_SAFETY", "text_only", "bare_429"]
)
def test_pictures_that_are_paid_for_survive_a_later_failure(
    gemini: Gemini, google: GeminiServer, mode: str
) -> None:
    google.fail("ok", "ok", mode)

    assert len(gemini.generate(a_task(MODEL, count=4), Reports())) == 2
    assert len(google.generations) == 3


def test_a_failure_of_the_first_call_fails_the_job(gemini: Gemini, google: GeminiServer) -> None:
    google.fail("per_day")

    with pytest.raises(QuotaExhausted):
        gemini.generate(a_task(MODEL, count=4), Reports())
    assert len(google.generations) == 1


def test_canceling_between_two_calls_stops_even_with_pictures_in_hand(
    gemini: Gemini, google: GeminiServer
) -> None:
    def stop() -> None:
        if google.generations:
            raise Canceled("Stop.")

    with pytest.raises(Canceled):
        gemini.generate(a_task(MODEL, count=4), Reports(until=stop))
    assert len(google.generations) == 1


def test_canceling_while_it_draws_ends_the_wait(gemini: Gemini, google: GeminiServer) -> None:
    google.fail("hang")

    def stop() -> None:
        if google.hanging.is_set():
            raise Canceled("Stop.")

    with pytest.raises(Canceled):
        gemini.generate(a_task(MODEL, timeout_s=60), Reports(until=stop))


def test_a_thought_before_the_real_picture_is_no_result(
    gemini: Gemini, google: GeminiServer
) -> None:
    google.fail("thought", "only_thought")

    images = gemini.generate(a_task(MODEL), Reports())

    assert [opened(each.data).size for each in images] == [(1024, 1024)]
    with pytest.raises(EngineFailed):
        gemini.generate(a_task(MODEL), Reports())


@pytest.mark.parametrize(("mode", "kind"), [("snake", "PNG"), ("jpeg", "JPEG")])
def test_both_casings_and_jpeg_answers_are_read(
    gemini: Gemini, google: GeminiServer, mode: str, kind: str
) -> None:
    google.fail(mode)

    images = gemini.generate(a_task(MODEL), Reports())

    assert [opened(each.data).format for each in images] == [kind]


def test_pictures_to_change_are_sent_inline(gemini: Gemini, google: GeminiServer) -> None:
    images = (an_input("png"), an_input("jpeg"), an_input("webp"))
    task = replace(a_task(MODEL, prompt="add a hat", operation=Operation.EDIT), images=images)

    assert len(gemini.generate(task, Reports())) == 1

    text, *parts = google.bodies[0]["contents"][0]["parts"]
    assert text == {"text": "add a hat"}
    assert [each["inlineData"]["mimeType"] for each in parts] == [
        "image/png",
        "image/jpeg",
        "image/webp",
    ]
    assert base64.b64decode(parts[1]["inlineData"]["data"]) == images[1].data
    assert "imageConfig" not in google.bodies[0]["generationConfig"]


def test_a_mask_is_sent_as_the_second_picture_and_explained(
    gemini: Gemini, google: GeminiServer
) -> None:
    mask = encoded(mode="L")
    task = a_task(MODEL, prompt="add a hat", operation=Operation.EDIT)

    gemini.generate(replace(task, images=(an_input(), an_input("jpeg")), mask=mask), Reports())

    text, first, second, third = google.bodies[0]["contents"][0]["parts"]
    assert text["text"].startswith("add a hat\n\n")
    assert "second image is a mask" in text["text"]
    assert base64.b64decode(second["inlineData"]["data"]) == mask
    assert first["inlineData"]["mimeType"] == "image/png"
    assert third["inlineData"]["mimeType"] == "image/jpeg"


def test_a_mask_is_a_hint_only_and_the_caller_is_told(gemini: Gemini) -> None:
    model = gemini.model(MODEL)
    request = a_request(images=("a",), mask="b", operation=Operation.EDIT)

    assert model.capabilities.mask is MaskSupport.APPROXIMATE
    assert fit(request, model).warnings[0].startswith("mask: ")


def test_what_it_cannot_be_told_is_dropped_with_a_warning(gemini: Gemini) -> None:
    asked = a_request(negative_prompt="fog", steps=20, quality="high", output_format="png")

    fitted = fit(asked, gemini.model(MODEL))

    assert [each.partition(":")[0] for each in fitted.warnings] == [
        "negative_prompt",
        "steps",
        "quality",
        "output_format",
    ]


def naive_client(server: GeminiServer, prompt: str, **config: Any) -> bytes:
    """Knows nothing of the traps: takes the first picture of an answer as the result."""
    body = {
        "contents": [{"parts": [{"text": prompt}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]} | config,
    }
    answer = requests.post(
        f"{server.url}/models/{MODEL}:generateContent",
        json=body,
        headers={"x-goog-api-key": KEY},
        timeout=10,
    )
    answer.raise_for_status()
    parts = answer.json()["candidates"][0]["content"]["parts"]
    picture = next(each["inlineData"] for each in parts if "inlineData" in each)
    data = base64.b64decode(picture["data"], validate=True)
    assert picture["mimeType"] == "image/png"
    assert opened(data).size == (1024, 1024)
    return data


def test_the_naive_client_works_where_there_is_no_trap(google: GeminiServer) -> None:
    assert naive_client(google, "a cat")


@pytest.mark.parametrize(
    ("mode", "config"),
    [
        ("thought", {}),
        ("jpeg", {}),
        ("snake", {}),
        ("text_only", {}),
        ("no_content", {}),
        ("block:SAFETY", {}),
        ("finish:NO_IMAGE", {}),
        ("wrapped_429", {}),
        ("hidden_503", {}),
        ("ok", {"responseModalities": ["TEXT"]}),
        ("ok", {"candidateCount": 3}),
        ("ok", {"seed": 2**31}),
        ("ok", {"imageConfig": {"imageSize": "1k"}}),
        ("ok", {"imageConfig": {"aspectRatio": "7:5"}}),
        ("ok", {"imageConfig": {"aspectRatio": "1:8"}}),
        ("ok", {"negativePrompt": "fog"}),
    ],
)
def test_a_client_that_ignores_a_trap_fails_against_the_stand_in(
    google: GeminiServer, mode: str, config: dict[str, Any]
) -> None:
    google.fail(mode)

    with pytest.raises((requests.HTTPError, KeyError, StopIteration, AssertionError)):
        naive_client(google, "a cat", **config)


def test_the_stand_in_reads_both_casings(google: GeminiServer) -> None:
    picture = base64.b64encode(encoded()).decode()
    body = {
        "contents": [
            {"parts": [{"text": "x"}, {"inline_data": {"mime_type": "image/png", "data": picture}}]}
        ],
        "generation_config": {"response_modalities": ["IMAGE"], "image_config": {}},
    }

    answer = requests.post(
        f"{google.url}/models/{MODEL}:generateContent?key={KEY}", json=body, timeout=10
    )

    assert answer.ok


def test_an_engine_error_is_all_that_a_broken_answer_raises(
    gemini: Gemini, google: GeminiServer
) -> None:
    for mode in ("bad_base64", "empty_object", "no_parts", "no_content", "cut"):
        google.fail(mode)

        with pytest.raises(EngineError):
            gemini.generate(a_task(MODEL), Reports())
