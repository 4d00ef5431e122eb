"""The older method, which Google switched off and compatible servers still speak."""

import base64
import binascii
from typing import Any

import pytest
import requests

from darkroom.domain import Size
from darkroom.errors import ContentRefused, EngineFailed, ModelNotOffered
from engines.fitting import fit
from engines.gemini import Gemini
from tests.engines.builders import Reports, a_request, a_task, opened
from tests.engines.gemini_builders import IMAGEN, MODEL, gemini_for
from tests.engines.servers.gemini import GeminiServer
from tests.engines.servers.gemini_faults import KEY


def predict(google: GeminiServer, instances: object, **parameters: object) -> requests.Response:
    """Ask as a client that knows the method and none of its traps."""
    return requests.post(
        f"{google.url}/models/{IMAGEN}:predict",
        json={"instances": instances, "parameters": parameters},
        headers={"x-goog-api-key": KEY},
        timeout=10,
    )


def naive_pictures(answer: Any) -> list[bytes]:
    """Every prediction, the first of which is surely there."""
    predictions = answer["predictions"]
    assert predictions[0] is not None
    return [base64.b64decode(each["bytesBase64Encoded"], validate=True) for each in predictions]


def test_imagen_is_called_by_predict(gemini: Gemini, google: GeminiServer) -> None:
    task = a_task(IMAGEN, prompt="a cat", count=2, size=Size(2816, 1536), output_format="jpeg")

    images = gemini.generate(task, Reports())

    assert [opened(each.data).format for each in images] == ["JPEG", "JPEG"]
    assert google.calls[0].path == f"/v1beta/models/{IMAGEN}:predict"
    assert google.bodies == [
        {
            "instances": [{"prompt": "a cat"}],
            "parameters": {
                "sampleCount": 2,
                "includeRaiReason": True,
                "aspectRatio": "16:9",
                "sampleImageSize": "2K",
                "outputOptions": {"mimeType": "image/jpeg"},
            },
        }
    ]


def test_one_call_draws_at_most_four(gemini: Gemini, google: GeminiServer) -> None:
    images = gemini.generate(a_task(IMAGEN, count=10), Reports())

    assert len(images) == 10
    assert [each["parameters"]["sampleCount"] for each in google.bodies] == [4, 4, 2]


def test_negative_prompt_and_seed_are_for_google_cloud_only(gemini: Gemini) -> None:
    fitted = fit(a_request(negative_prompt="fog", seed=1), gemini.model(IMAGEN))

    assert (fitted.request.negative_prompt, fitted.request.seed) == (None, None)
    assert len(fitted.warnings) == 2


@pytest.mark.parametrize(("mode", "count"), [("some_filtered", 3), ("some_bad", 3)])
def test_fewer_pictures_than_asked_for_are_returned_as_they_are(
    gemini: Gemini, google: GeminiServer, mode: str, count: int
) -> None:
    google.fail(mode)

    assert len(gemini.generate(a_task(IMAGEN, count=4), Reports())) == count
    assert len(google.generations) == 1


def test_filtered_pictures_are_refused_with_their_rai_reason(
    gemini: Gemini, google: GeminiServer
) -> None:
    google.fail("filtered")

    with pytest.raises(ContentRefused, match="Support codes: 42237218"):
        gemini.generate(a_task(IMAGEN), Reports())


@pytest.mark.parametrize("mode", ["no_predictions", "empty_object"])
def test_a_200_without_predictions_is_a_refusal_too(
    gemini: Gemini, google: GeminiServer, mode: str
) -> None:
    google.fail(mode)

    with pytest.raises(ContentRefused):
        gemini.generate(a_task(IMAGEN, count=2), Reports())


def test_the_positive_prompt_entry_is_no_picture(gemini: Gemini, google: GeminiServer) -> None:
    google.fail("positive_prompt")

    images = gemini.generate(a_task(IMAGEN, count=2), Reports())

    assert [opened(each.data).format for each in images] == ["PNG", "PNG"]


def test_a_rewritten_prompt_is_told(gemini: Gemini, google: GeminiServer) -> None:
    google.fail("rewritten")

    images = gemini.generate(a_task(IMAGEN, prompt="a cat"), Reports())

    assert images[0].revised_prompt == "a cat, in detail"


def test_pictures_that_cannot_be_decoded_are_a_failure(
    gemini: Gemini, google: GeminiServer
) -> None:
    google.fail("bad_base64")

    with pytest.raises(EngineFailed):
        gemini.generate(a_task(IMAGEN), Reports())


def test_the_method_can_be_chosen_for_all_models(google: GeminiServer) -> None:
    predicting = gemini_for(google, endpoint_method="predict")
    chatting = gemini_for(google, endpoint_method="generateContent")

    # The stand-in has neither model in that form, as Google would not.
    for gemini, model in ((predicting, MODEL), (chatting, IMAGEN)):
        with pytest.raises(ModelNotOffered, match="DARKROOM_IMAGES_GEMINI_ENDPOINT_METHOD"):
            gemini.generate(a_task(model), Reports())

    assert [each.path.rpartition(":")[2] for each in google.calls] == ["predict", "generateContent"]


def test_a_model_called_by_predict_promises_nothing_that_is_not_sent(
    google: GeminiServer,
) -> None:
    gemini = gemini_for(google, endpoint_method="predict")

    for each in (MODEL, "my-own-model"):
        capabilities = gemini.model(each).capabilities
        assert not capabilities.seed
        assert capabilities.max_input_images == 0


@pytest.mark.parametrize("count", [0, 5])
def test_the_stand_in_refuses_what_a_client_may_not_ask(google: GeminiServer, count: int) -> None:
    def post(parameters: dict[str, object]) -> int:
        return predict(google, [{"prompt": "x"}], **parameters).status_code

    assert post({"sampleCount": 1}) == 200
    assert post({"sampleCount": count}) == 400
    assert post({"negativePrompt": "fog"}) == 400
    assert post({"seed": 1}) == 400
    assert post({"aspectRatio": "2:3"}) == 400
    assert post({"sampleImageSize": "2k"}) == 400


def test_the_stand_in_takes_instances_as_an_object_or_an_array(google: GeminiServer) -> None:
    assert predict(google, {"prompt": "x"}).ok
    assert predict(google, [{"prompt": "x"}]).ok


@pytest.mark.parametrize(
    "mode",
    ["filtered", "some_filtered", "no_predictions", "empty_object", "positive_prompt", "some_bad"],
)
def test_a_naive_client_that_takes_every_prediction_for_a_picture_breaks(
    google: GeminiServer, mode: str
) -> None:
    google.fail(mode)

    answer = predict(google, [{"prompt": "x"}], sampleCount=2, includeRaiReason=True)

    assert answer.status_code == 200
    with pytest.raises((KeyError, IndexError, binascii.Error)):
        naive_pictures(answer.json())


def test_a_naive_client_works_where_there_is_no_trap(google: GeminiServer) -> None:
    assert len(naive_pictures(predict(google, [{"prompt": "x"}], sampleCount=2).json())) == 2
