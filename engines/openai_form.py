"""The pictures and the mask of an edit, as an OpenAI-style server takes them."""

import io
from collections.abc import Iterator

from PIL import Image

from darkroom.domain import InputImage
from darkroom.errors import RequestRejected
from engines.base import Task
from engines.http import Form

PNG = "image/png"
#: What the oldest model takes: one square PNG of less than this.
DALL_E_2_BYTES = 4 * 1024 * 1024
#: From this grey on a mask means to repaint.
REPAINT_FROM = 128


def picture_parts(task: Task) -> Form:
    """The file parts of a form that asks for `task`.

    Raises RequestRejected when a picture is not what the model takes; nothing was sent then.
    """
    images = task.images
    if task.model == "dall-e-2":
        images = tuple(_for_dall_e_2(each) for each in images)
    return [*_images(images), *_masks(task.mask)]


def _images(images: tuple[InputImage, ...]) -> Iterator[tuple[str, tuple[str, bytes, str]]]:
    # A list has brackets in its name, and older models know no lists.
    name = "image" if len(images) == 1 else "image[]"
    for number, each in enumerate(images, 1):
        # Files without a name, or of no certain type, are refused.
        extension = each.content_type.removeprefix("image/")
        yield name, (f"image-{number}.{extension}", each.data, each.content_type)


def _masks(mask: bytes | None) -> Iterator[tuple[str, tuple[str, bytes, str]]]:
    if mask is None:
        return
    with Image.open(io.BytesIO(mask)) as grey:
        alpha = grey.convert("L").point(lambda value: 0 if value >= REPAINT_FROM else 255)
    see_through = Image.new("RGBA", alpha.size)
    see_through.putalpha(alpha)
    yield "mask", ("mask.png", _png(see_through), PNG)


def _for_dall_e_2(image: InputImage) -> InputImage:
    if image.size.width != image.size.height:
        raise RequestRejected(
            f"dall-e-2 changes only square pictures, and this one is {image.size}: crop it to a"
            " square, or choose another model.",
            param="image",
        )
    with Image.open(io.BytesIO(image.data)) as picture:
        data = _png(picture.convert("RGBA"))
    if len(data) >= DALL_E_2_BYTES:
        raise RequestRejected(
            "dall-e-2 changes only pictures of less than 4 MiB as PNG, and this one has"
            f" {len(data) / 2**20:.1f} MiB: make it smaller, or choose another model.",
            param="image",
        )
    return InputImage(data=data, content_type=PNG, size=image.size)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
