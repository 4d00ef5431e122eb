"""Changing pictures with ComfyUI."""

import io
from typing import Any

import pytest
from PIL import Image

from darkroom.domain import InputImage, MaskSupport, Operation, Size
from darkroom.errors import EngineUnreachable, RequestRejected
from engines.catalog import Catalog
from engines.comfyui import ComfyUI
from tests.engines.builders import Reports, a_task, comfyui_config, opened
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.servers.comfyui_paint import colour_of
from tests.engines.workflows import (
    a_qwen_edit_workflow,
    a_workflow,
    an_image_to_image_workflow,
    an_inpaint_workflow,
    node,
)

RED, BLUE = (200, 10, 10), (10, 10, 200)


def engine_at(comfy: ComfyUIServer, **options: Any) -> ComfyUI:
    return ComfyUI(comfyui_config(comfy, **options), Catalog())


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def a_picture(
    colour: tuple[int, ...] = RED, size: tuple[int, int] = (64, 64), kind: str = "PNG"
) -> InputImage:
    image = Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour)
    return InputImage(
        data=encoded(image, kind), content_type=f"image/{kind.lower()}", size=Size(*size)
    )


def a_mask(size: tuple[int, int] = (64, 64)) -> bytes:
    """Its left half is to be repainted."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return encoded(mask)


def blend(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    pixel = Image.blend(
        Image.new("RGB", (1, 1), one[:3]), Image.new("RGB", (1, 1), other[:3]), 0.5
    ).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel


def an_edit(*images: InputImage, model: str = "dream.safetensors", **rest: Any) -> Any:
    return a_task(model, images=images or (a_picture(),), operation=Operation.EDIT, **rest)


def uploads(comfy: ComfyUIServer) -> list[Image.Image]:
    return [opened(data) for key, data in comfy.floor.files.items() if key[0] == "input"]


def test_it_edits() -> None:
    assert Operation.EDIT in ComfyUI.operations


# With nothing pasted


def test_a_plain_server_changes_a_picture(comfy: ComfyUIServer) -> None:
    images = engine_at(comfy).generate(an_edit(prompt="a cat", seed=3), Reports())

    new = colour_of("a cat", "", 3, "dream.safetensors")
    assert opened(images[0].data).getpixel((5, 5)) == blend(RED, new)


def test_outside_the_mask_a_picture_stays_as_it_was_to_the_pixel(comfy: ComfyUIServer) -> None:
    task = an_edit(prompt="a cat", seed=3, mask=a_mask(), count=2)

    images = engine_at(comfy).generate(task, Reports())

    assert len(images) == 2
    for index, each in enumerate(images):
        result = opened(each.data)
        new = blend(RED, colour_of("a cat", "", 3, "dream.safetensors", index))
        assert result.getpixel((60, 30)) == RED
        assert result.getpixel((3, 30)) == tuple(value + 1 for value in new)


def test_the_colours_under_the_mask_are_kept(comfy: ComfyUIServer) -> None:
    engine_at(comfy).generate(an_edit(mask=a_mask()), Reports())

    (sent,) = uploads(comfy)
    assert sent.getpixel((3, 3)) == (*RED, 0)
    assert sent.getpixel((60, 3)) == (*RED, 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_needs_no_change_is_sent_as_it_is(comfy: ComfyUIServer, kind: str) -> None:
    picture = a_picture(kind=kind)

    engine_at(comfy).generate(an_edit(picture), Reports())

    assert [data for key, data in comfy.floor.files.items() if key[0] == "input"] == [picture.data]


def test_the_size_asked_for_is_drawn_by_cutting_and_not_by_squeezing(
    comfy: ComfyUIServer,
) -> None:
    image = Image.new("RGB", (192, 64), BLUE)
    image.paste(RED, (64, 0, 128, 64))
    picture = InputImage(data=encoded(image), content_type="image/png", size=Size(192, 64))

    images = engine_at(comfy).generate(an_edit(picture, size=Size(128, 128)), Reports())

    assert opened(images[0].data).size == (128, 128)
    assert uploads(comfy)[0].getpixel((20, 64)) == RED


def test_a_size_that_no_latent_can_hold_is_cut_with_its_mask(comfy: ComfyUIServer) -> None:
    task = an_edit(a_picture(size=(67, 70)), mask=a_mask((67, 70)))

    images = engine_at(comfy).generate(task, Reports())

    assert opened(images[0].data).size == (64, 64)
    assert opened(images[0].data).getpixel((60, 60)) == RED


def test_several_pictures_of_an_edit_are_one_batch(comfy: ComfyUIServer) -> None:
    images = engine_at(comfy).generate(an_edit(count=3), Reports())

    assert len(images) == 3
    assert len(comfy.accepted) == 1


# With workflows


def test_a_workflow_that_loads_no_picture_is_not_used_for_edits(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=a_workflow())
    assert engine.models()[0].capabilities.max_input_images == 1

    images = engine.generate(an_edit(model="default", prompt="a cat", seed=3), Reports())

    # The picture shines through, and the checkpoint is the pasted workflow's.
    new = colour_of("a cat", "", 3, "dream.safetensors")
    assert opened(images[0].data).getpixel((5, 5)) == blend(RED, new)


def test_a_pasted_edit_workflow_gets_the_picture(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=an_image_to_image_workflow())
    capabilities = engine.models()[0].capabilities
    assert capabilities.max_input_images == 1
    assert capabilities.mask is MaskSupport.NONE
    assert capabilities.sizes == ()

    images = engine.generate(an_edit(model="default", prompt="a cat", seed=3, count=2), Reports())

    new = colour_of("a cat", "ugly", 3, "dream.safetensors")
    assert opened(images[0].data).getpixel((5, 5)) == blend(RED, new)
    # It has no batch size.
    assert len(images) == len(comfy.accepted) == 2
    assert len(uploads(comfy)) == 1


def test_several_pictures_go_to_their_loaders_in_order(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=a_qwen_edit_workflow())
    assert engine.models()[0].capabilities.max_input_images == 2

    engine.generate(an_edit(a_picture(RED), a_picture(BLUE), model="default"), Reports())

    sent = comfy.graphs[0]
    files = comfy.floor.files
    for loader, colour in (("9", RED), ("10", BLUE)):
        data = files["input", "", sent[loader]["inputs"]["image"]]
        assert opened(data).getpixel((0, 0)) == colour


@pytest.mark.parametrize("channel", ["alpha", "red"])
def test_a_mask_loader_gets_a_mask_of_its_own_and_is_told_how_to_read_it(
    comfy: ComfyUIServer, channel: str
) -> None:
    graph = an_inpaint_workflow()
    graph["20"] = node("LoadImageMask", image="old.png", channel=channel)
    graph["12"]["inputs"]["mask"] = ["20", 0]

    images = engine_at(comfy, workflow=graph).generate(
        an_edit(model="default", mask=a_mask()), Reports()
    )

    result = opened(images[0].data)
    assert result.getpixel((60, 30)) == tuple(value + 1 for value in RED)
    assert result.getpixel((3, 30)) != result.getpixel((60, 30))
    assert comfy.graphs[0]["20"]["inputs"]["channel"] == "red"


def test_a_pasted_inpaint_workflow_repaints_where_the_mask_says(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=an_inpaint_workflow())
    assert engine.models()[0].capabilities.mask is MaskSupport.EXACT

    images = engine.generate(an_edit(model="default", mask=a_mask()), Reports())

    result = opened(images[0].data)
    assert result.getpixel((60, 30)) == tuple(value + 1 for value in RED)
    assert result.getpixel((3, 30)) != result.getpixel((60, 30))


def test_without_a_mask_an_inpaint_workflow_repaints_everything(comfy: ComfyUIServer) -> None:
    images = engine_at(comfy, workflow=an_inpaint_workflow()).generate(
        an_edit(model="default"), Reports()
    )

    result = opened(images[0].data)
    assert result.getpixel((60, 30)) == result.getpixel((3, 30))
    assert result.getpixel((3, 30)) != tuple(value + 1 for value in RED)


def test_a_pictures_own_transparency_says_what_an_inpaint_workflow_repaints(
    comfy: ComfyUIServer,
) -> None:
    image = Image.new("RGBA", (64, 64), (*RED, 255))
    image.paste((*RED, 0), (0, 0, 32, 64))
    picture = InputImage(data=encoded(image), content_type="image/png", size=Size(64, 64))

    images = engine_at(comfy, workflow=an_inpaint_workflow()).generate(
        an_edit(picture, model="default"), Reports()
    )

    result = opened(images[0].data)
    assert result.getpixel((60, 30)) == tuple(value + 1 for value in RED)
    assert result.getpixel((3, 30)) != result.getpixel((60, 30))


def test_a_listed_loader_goes_before_what_was_inferred(comfy: ComfyUIServer) -> None:
    listed = [{"type": "image", "key": "image", "node_ids": ["10"]}]
    engine = engine_at(comfy, workflow=a_qwen_edit_workflow(), workflow_nodes=listed)
    comfy.floor.files["input", "", "first.png"] = a_picture(BLUE).data

    engine.generate(an_edit(a_picture(RED), model="default"), Reports())

    assert engine.models()[0].capabilities.max_input_images == 1
    assert comfy.graphs[0]["9"]["inputs"]["image"] == "first.png"


# Uploads


def test_an_upload_may_be_renamed_and_the_returned_name_is_used(
    comfy: ComfyUIServer,
) -> None:
    comfy.renames_uploads = True

    images = engine_at(comfy).generate(an_edit(), Reports())

    assert images
    assert comfy.graphs[0]["10"]["inputs"]["image"].startswith("elsewhere/")


def test_uploads_have_names_of_their_own(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy)

    for picture in (a_picture(RED), a_picture(BLUE)):
        engine.generate(an_edit(picture), Reports())

    names = [graph["10"]["inputs"]["image"] for graph in comfy.graphs]
    assert len(set(names)) == 2


def test_a_picture_that_is_too_large_is_named_as_that(comfy: ComfyUIServer) -> None:
    comfy.max_upload_bytes = 10

    with pytest.raises(RequestRejected, match="--max-upload-size"):
        engine_at(comfy).generate(an_edit(), Reports())


def test_a_server_that_hangs_up_on_an_upload_has_drawn_nothing(comfy: ComfyUIServer) -> None:
    comfy.hangs_up_on_uploads = True

    with pytest.raises(EngineUnreachable):
        engine_at(comfy).generate(an_edit(), Reports())

    assert comfy.accepted == []


def test_an_edit_whose_worker_died_is_gone_on_with_and_uploads_nothing_again(
    comfy: ComfyUIServer,
) -> None:
    engine = engine_at(comfy)
    reports = Reports()
    engine.generate(an_edit(mask=a_mask()), reports)

    images = engine.generate(
        an_edit(mask=a_mask(), attempt=2, upstream_id=reports.upstream_id), Reports()
    )

    assert len(images) == 1
    assert len(comfy.accepted) == 1
    assert len(comfy.calls_to("/upload/image")) == 1
