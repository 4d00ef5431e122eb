"""The stand-in for OpenAI is honest: whoever ignores a trap of the real API fails against it."""

import base64
import binascii
import io
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import requests
from PIL import Image

from tests.engines.builders import as_png, opened
from tests.engines.servers.openai import OpenAIServer
from tests.engines.servers.openai_pictures import colour

RED = (255, 0, 0)
PICTURE = as_png(Image.new("RGB", (64, 64), RED))
#: White where to repaint, as other engines want it.
WHITE_MASK = as_png(Image.new("L", (64, 64), 255))


def ask(server: OpenAIServer, path: str = "/images/generations", **parts: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {server.key}"}
    return requests.post(server.url + path, headers=headers, timeout=20, **parts)


def edit(server: OpenAIServer, files: list[Any], **fields: str) -> requests.Response:
    data = {"model": "gpt-image-2", "prompt": "a cat"} | fields
    return ask(server, "/images/edits", data=data, files=files)


def generate(server: OpenAIServer, **fields: Any) -> requests.Response:
    return ask(server, json={"model": "gpt-image-2", "prompt": "a cat"} | fields)


REFUSED: dict[str, Callable[[OpenAIServer], requests.Response]] = {
    "leaves the model to the vendor": lambda server: ask(server, json={"prompt": "a cat"}),
    "sends a seed": lambda server: generate(server, seed=1),
    "asks every model for base64": lambda server: generate(server, response_format="b64_json"),
    "asks for a style": lambda server: generate(server, style="vivid"),
    "asks dall-e-3 for two": lambda server: generate(server, model="dall-e-3", n=2),
    "asks for any size": lambda server: generate(server, model="gpt-image-1.5", size="640x480"),
    "streams two": lambda server: generate(server, stream=True, n=2),
    "streams dall-e": lambda server: generate(server, model="dall-e-2", stream=True),
    "sends a file without a type": lambda server: edit(server, [("image", PICTURE)]),
    "sends octets": lambda server: edit(
        server, [("image", ("a.png", PICTURE, "application/octet-stream"))]
    ),
    "sends two files as image": lambda server: edit(
        server, [("image", (f"{each}.png", PICTURE, "image/png")) for each in "ab"]
    ),
    "sends a white mask": lambda server: edit(
        server,
        [
            ("image", ("a.png", PICTURE, "image/png")),
            ("mask", ("m.png", WHITE_MASK, "image/png")),
        ],
    ),
    "sends a small mask": lambda server: edit(
        server,
        [
            ("image", ("a.png", PICTURE, "image/png")),
            ("mask", ("m.png", as_png(Image.new("RGBA", (32, 32))), "image/png")),
        ],
    ),
    "sends a Python boolean": lambda server: edit(
        server, [("image", ("a.png", PICTURE, "image/png"))], stream="True"
    ),
    "asks gpt-image-2 for fidelity": lambda server: edit(
        server, [("image", ("a.png", PICTURE, "image/png"))], input_fidelity="high"
    ),
    "sends dall-e-2 an oblong": lambda server: edit(
        server,
        [("image", ("a.png", as_png(Image.new("RGBA", (64, 32))), "image/png"))],
        model="dall-e-2",
    ),
    "edits with dall-e-3": lambda server: edit(
        server, [("image", ("a.png", PICTURE, "image/png"))], model="dall-e-3"
    ),
    "sends an edit as JSON": lambda server: ask(
        server, "/images/edits", json={"model": "gpt-image-2", "prompt": "a cat"}
    ),
}


@pytest.mark.parametrize("habit", REFUSED)
def test_a_naive_client_is_refused(server: OpenAIServer, habit: str) -> None:
    answer = REFUSED[habit](server)

    assert answer.status_code == 400
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert server.drawn == []


@pytest.mark.parametrize("mode", ["final_first", "unended", "late_error"])
def test_a_naive_client_that_takes_the_last_picture_of_a_stream_gets_an_unfinished_one(
    server: OpenAIServer, mode: str
) -> None:
    server.fail(mode)

    stream = generate(server, stream=True, partial_images=1).content

    lines = [each for each in stream.split(b"\n") if each.startswith(b"data: ")]
    events = [orjson.loads(each.removeprefix(b"data: ")) for each in lines]
    last = [each["b64_json"] for each in events if "b64_json" in each][-1]
    assert opened(base64.b64decode(last)).getpixel((0, 0)) != colour("a cat")


def test_a_naive_client_that_asks_again_pays_twice(server: OpenAIServer) -> None:
    server.fail("cut", "ok")

    with pytest.raises(requests.RequestException):
        generate(server)
    generate(server)

    assert len(server.drawn) == 2


def test_a_naive_client_that_asks_for_previews_pays_for_them(server: OpenAIServer) -> None:
    plain = generate(server).json()["usage"]["output_tokens"]

    stream = generate(server, stream=True, partial_images=3).content

    usage = orjson.loads(stream.split(b"data: ")[-1])["usage"]
    assert usage["output_tokens"] > plain


def test_a_naive_client_that_waits_for_pictures_in_the_answer_gets_links(
    server: OpenAIServer,
) -> None:
    item = generate(server, model="dall-e-2").json()["data"][0]

    assert "b64_json" not in item
    assert Image.open(io.BytesIO(requests.get(item["url"], timeout=20).content)).format == "PNG"


def first_picture(server: OpenAIServer) -> bytes:
    answer = generate(server)
    assert answer.status_code == 200
    return base64.b64decode(answer.json()["data"][0]["b64_json"], validate=True)


@pytest.mark.parametrize("mode", ["no_data", "empty", "bad_base64", "html_200", "cut"])
def test_a_naive_client_that_takes_a_200_for_a_picture_breaks(
    server: OpenAIServer, mode: str
) -> None:
    server.fail(mode)

    with pytest.raises((requests.RequestException, TypeError, IndexError, binascii.Error)):
        first_picture(server)


@pytest.mark.parametrize("mode", ["quota", "spend_limit", "no_credit"])
def test_a_naive_client_that_waits_out_every_429_waits_for_ever(
    server: OpenAIServer, mode: str
) -> None:
    server.fail(mode, "rate_limited")

    gone, busy = generate(server), generate(server)

    assert (gone.status_code, busy.status_code) == (429, 429)
    assert "retry-after" not in gone.headers
    assert busy.headers["retry-after"]


@pytest.mark.parametrize("mode", ["billing", "no_model_400", "moderation"])
def test_a_naive_client_that_takes_every_400_for_its_own_mistake_is_wrong(
    server: OpenAIServer, mode: str
) -> None:
    mistake = generate(server, seed=1).status_code
    server.fail(mode)

    assert generate(server).status_code == mistake == 400


@pytest.mark.parametrize("mode", ["html_502", "gateway_504", "html_524"])
def test_a_naive_client_that_reads_every_error_as_json_breaks(
    server: OpenAIServer, mode: str
) -> None:
    server.fail(mode)

    with pytest.raises(requests.JSONDecodeError):
        generate(server).json()


def test_a_naive_client_that_sends_its_key_another_way_is_unknown(server: OpenAIServer) -> None:
    headers = {"api-key": server.key}

    answer = requests.get(f"{server.url}/models", headers=headers, timeout=20)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_a_naive_client_that_takes_what_is_listed_for_what_draws_is_refused(
    server: OpenAIServer,
) -> None:
    server.verified = False
    headers = {"Authorization": f"Bearer {server.key}"}
    listed = requests.get(f"{server.url}/models", headers=headers, timeout=20).json()["data"]
    retired = {each["id"] for each in listed if each["shutdown_date"]}

    assert {"dall-e-2", "dall-e-3", "gpt-image-1"} == retired
    assert {"gpt-image-2", "whisper-1"} <= {each["id"] for each in listed}
    assert generate(server).status_code == 403
    assert generate(server, model="whisper-1").status_code == 400
