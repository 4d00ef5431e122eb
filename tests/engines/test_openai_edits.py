"""Changing pictures with OpenAI's API, against a server that is as strict as the real one."""

import io
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from darkroom.domain import InputImage, Operation, Size
from darkroom.errors import ModelNotOffered, RequestRejected
from engines.base import Task
from engines.catalog import Catalog
from engines.openai_body import as_text
from engines.openai_images import OpenAIImages
from tests.engines.builders import Reports, a_task, an_input, as_png, openai_config, opened
from tests.engines.servers.openai import API_VERSION, OpenAIServer
from tests.engines.servers.openai_pictures import colour

RED, SIZE = (255, 0, 0), (64, 64)


def an_edit(model: str = "gpt-image-2", **parts: Any) -> Task:
    parts = {"images": (an_input(Image.new("RGB", SIZE, RED)),), "prompt": "a cat"} | parts
    return a_task(model, operation=Operation.EDIT, **parts)


def a_picture(kind: str) -> InputImage:
    buffer = io.BytesIO()
    Image.new("RGB", SIZE, RED).save(buffer, kind)
    return InputImage(
        data=buffer.getvalue(), content_type=f"image/{kind.lower()}", size=Size(*SIZE)
    )


def test_one_picture_goes_as_the_part_image(openai: OpenAIImages, server: OpenAIServer) -> None:
    images = openai.generate(an_edit(quality="low", size=Size(1024, 1024)), Reports())

    assert len(images) == 1
    (call,) = server.calls
    assert call.path == "/v1/images/edits"
    assert call.body == {
        "model": "gpt-image-2",
        "prompt": "a cat",
        "n": "1",
        "size": "1024x1024",
        "quality": "low",
    }
    assert [each.part for each in call.files] == ["image"]


def test_several_pictures_go_as_a_list_with_brackets(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    pictures = tuple(a_picture(each) for each in ("PNG", "JPEG", "WEBP"))

    openai.generate(an_edit(images=pictures), Reports())

    assert [each.part for each in server.calls[0].files] == ["image[]"] * 3


def test_every_file_has_a_name_and_its_real_type(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    pictures = tuple(a_picture(each) for each in ("PNG", "JPEG", "WEBP"))

    openai.generate(an_edit(images=pictures), Reports())

    files = server.calls[0].files
    assert [each.type for each in files] == ["image/png", "image/jpeg", "image/webp"]
    assert [each.name for each in files] == ["image-1.png", "image-2.jpeg", "image-3.webp"]
    assert [each.data for each in files] == [each.data for each in pictures]


def half_mask(size: tuple[int, int] = SIZE) -> bytes:
    """Repaint the left half."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return as_png(mask)


def test_the_picture_is_repainted_where_the_mask_is_white(openai: OpenAIImages) -> None:
    (image,) = openai.generate(an_edit(mask=half_mask(), size=Size(1024, 1024)), Reports())

    picture = opened(image.data)
    assert picture.getpixel((100, 500)) == colour("a cat")
    assert picture.getpixel((900, 500)) == RED


def test_a_mask_is_a_png_of_the_same_size_whose_alpha_is_zero_where_to_repaint(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    openai.generate(an_edit(mask=half_mask()), Reports())

    image, mask = server.calls[0].files
    picture = opened(mask.data)
    assert (mask.part, mask.type, picture.format) == ("mask", "image/png", "PNG")
    assert picture.mode == "RGBA"
    assert picture.size == opened(image.data).size
    assert picture.getpixel((0, 0))[3] == 0  # type: ignore[index]
    assert picture.getpixel((63, 0))[3] == 255  # type: ignore[index]


def test_a_soft_mask_becomes_a_hard_one(openai: OpenAIImages, server: OpenAIServer) -> None:
    grey = Image.new("L", SIZE, 100)
    grey.paste(200, (0, 0, 32, 64))

    openai.generate(an_edit(mask=as_png(grey)), Reports())

    alpha = opened(server.calls[0].files[1].data).getchannel("A")
    assert alpha.getcolors() == [(2048, 0), (2048, 255)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_dall_e_2_is_given_a_png_with_an_alpha_channel(
    openai: OpenAIImages, server: OpenAIServer, kind: str
) -> None:
    task = an_edit("dall-e-2", images=(a_picture(kind),), mask=half_mask(), size=Size(256, 256))

    (image,) = openai.generate(task, Reports())

    assert opened(image.data).size == (256, 256)
    sent = server.calls[0].files[0]
    assert (sent.type, opened(sent.data).format, opened(sent.data).mode) == (
        "image/png",
        "PNG",
        "RGBA",
    )
    assert server.calls[0].body["response_format"] == "b64_json"


def test_a_picture_for_dall_e_2_that_is_not_square_is_refused_before_anything_is_sent(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    picture = an_input(Image.new("RGB", (64, 48)))

    with pytest.raises(RequestRejected, match=r"square.*64x48.*crop") as caught:
        openai.generate(an_edit("dall-e-2", images=(picture,)), Reports())

    assert caught.value.param == "image"
    assert server.calls == []


def test_a_picture_for_dall_e_2_that_is_too_large_is_refused_before_anything_is_sent(
    openai: OpenAIImages, server: OpenAIServer
) -> None:
    noise = an_input(Image.effect_noise((2400, 2400), 90))

    with pytest.raises(RequestRejected, match="4 MiB") as caught:
        openai.generate(an_edit("dall-e-2", images=(noise,)), Reports())

    assert caught.value.param == "image"
    assert server.calls == []


@pytest.mark.parametrize(
    ("model", "sent"), [("gpt-image-1.5", {"input_fidelity": "high"}), ("gpt-image-2", {})]
)
def test_input_fidelity_is_sent_only_when_an_admin_says_so(
    server: OpenAIServer, catalog: Catalog, model: str, sent: dict[str, str]
) -> None:
    openai = OpenAIImages(openai_config(server, params=sent), catalog)

    openai.generate(an_edit(model), Reports())

    assert server.calls[0].body.get("input_fidelity") == sent.get("input_fidelity")


def test_extra_fields_go_only_where_they_are_taken(server: OpenAIServer, catalog: Catalog) -> None:
    params = {"moderation": "low", "input_fidelity": "low", "quality": "low", "image": "x"}
    openai = OpenAIImages(openai_config(server, params=params), catalog)

    openai.generate(an_edit("gpt-image-1.5"), Reports())
    openai.generate(a_task("gpt-image-1.5"), Reports())

    edit, generation = (each.body for each in server.calls)
    assert (edit["quality"], edit["input_fidelity"]) == ("low", "low")
    assert "moderation" not in edit
    assert (generation["quality"], generation["moderation"]) == ("low", "low")
    assert "input_fidelity" not in generation


def test_values_of_a_form_are_text_as_the_vendor_reads_it() -> None:
    fields = {
        "n": 2,
        "stream": True,
        "strength": 0.5,
        "nothing": None,
        "svg": {"model": "m", "reasoning": {"effort": "low"}},
        "tags": ["a", "b"],
    }

    assert as_text(fields) == [
        ("n", "2"),
        ("stream", "true"),
        ("strength", "0.5"),
        ("svg[model]", "m"),
        ("svg[reasoning][effort]", "low"),
        ("tags[]", "a"),
        ("tags[]", "b"),
    ]


def test_azure_edits_by_deployment(catalog: Catalog) -> None:
    with OpenAIServer(azure=True) as azure:
        openai = OpenAIImages(openai_config(azure, api_version=API_VERSION), catalog)

        assert len(openai.generate(an_edit(mask=half_mask()), Reports())) == 1

        assert azure.calls[0].path == "/openai/deployments/gpt-image-2/images/edits"
        assert azure.calls[0].query == {"api-version": [API_VERSION]}
        assert "authorization" not in azure.calls[0].headers


def test_several_edits_are_drawn_in_one_call(openai: OpenAIImages, server: OpenAIServer) -> None:
    assert len(openai.generate(an_edit(count=3), Reports())) == 3
    assert [each.body["n"] for each in server.edits] == ["3"]


def test_a_server_without_edits_may_generate_all_the_same(
    server: OpenAIServer, catalog: Catalog
) -> None:
    config = replace(openai_config(server), base_url=f"{server.origin}/v7")

    # An engine rests after any other configuration error.
    with pytest.raises(ModelNotOffered, match="DARKROOM_IMAGES_EDIT_OPENAI_API_BASE_URL"):
        OpenAIImages(config, catalog).generate(an_edit(), Reports())
