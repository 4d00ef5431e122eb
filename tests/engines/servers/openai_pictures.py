"""The pictures of the stand-in: drawn from nothing, or from others and a mask."""

import io
import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from PIL import Image, UnidentifiedImageError

from tests.engines.servers.openai_faults import Fault, Refused
from tests.engines.servers.openai_forms import PICTURE_TYPES, File

Json = dict[str, Any]

#: What the oldest model takes at most.
MOST_BYTES = 4 * 1024 * 1024
MOST_PICTURES = 16


def colour(prompt: str) -> tuple[int, int, int]:
    """The colour in which a prompt is drawn."""
    red, green, blue = struct.unpack("3B", sha256(prompt.encode()).digest()[:3])
    return red, green, blue


def draw(body: Json, *, unfinished: bool = False) -> bytes:
    """A plain picture that fits the request; an unfinished one is grey."""
    mode = "RGBA" if body.get("background") == "transparent" else "RGB"
    fill = (128, 128, 128) if unfinished else colour(body["prompt"])
    return _encoded(Image.new(mode, _size(body), (*fill, 0)[: len(mode)]), body)


def repaint(body: Json, files: tuple[File, ...]) -> bytes:
    """The first picture, in the colour of the prompt where its mask is fully transparent, or half
    mixed with it where there is no mask.
    """
    images, mask = _parts(files)
    with Image.open(io.BytesIO(images[0].data)) as first:
        picture = first.convert("RGB").resize(_size(body))
    paint = Image.new("RGB", picture.size, colour(body["prompt"]))
    if mask is None:
        return _encoded(Image.blend(picture, paint, 0.5), body)
    with Image.open(io.BytesIO(mask.data)) as see_through:
        alpha = see_through.getchannel("A").resize(picture.size, Image.Resampling.NEAREST)
    picture.paste(paint, mask=alpha.point(lambda value: 255 if value == 0 else 0))
    return _encoded(picture, body)


def check_files(model: str, files: tuple[File, ...]) -> None:
    """Refuse pictures and masks that the vendor refuses. Raises Refused."""
    images, mask = _parts(files)
    for each in files:
        if not each.name or each.type not in PICTURE_TYPES:
            message = f"Invalid file '{each.part}': unsupported mimetype ('{each.type}')."
            raise Refused(Fault(400, "unsupported_file_mimetype", message=message), each.part)
    sizes = [picture.size for each in images for picture in _opened(each)]
    if model == "dall-e-2":
        if len(images) != 1 or images[0].part != "image":
            raise _invalid("image", "Only one image can be edited.")
        for each in files:
            _check_for_dall_e_2(each)
    if mask is None:
        return
    for picture in _opened(mask):
        if picture.format != "PNG" or "A" not in picture.getbands():
            raise _invalid("mask", "A mask must be a PNG with an alpha channel.")
        if picture.size != sizes[0]:
            raise _invalid("mask", "A mask must be as large as the image.")


def _parts(files: tuple[File, ...]) -> tuple[list[File], File | None]:
    single = [each for each in files if each.part == "image"]
    images = single or [each for each in files if each.part == "image[]"]
    masks = [each for each in files if each.part == "mask"]
    if len(single) > 1 or len(masks) > 1:
        message = "Duplicate parameter: use the array syntax instead, 'image[]'."
        raise Refused(Fault(400, "duplicate_parameter", message=message), "image")
    if len(images) + len(masks) != len(files):
        raise Refused(Fault(400, "unknown_parameter", message="Unknown files."))
    if not 1 <= len(images) <= MOST_PICTURES:
        raise Refused(Fault(400, "missing_required_parameter", message="1 to 16 images."), "image")
    return images, masks[0] if masks else None


def _opened(file: File) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(file.data)) as picture:
            picture.load()
            yield picture
    except (UnidentifiedImageError, OSError):
        raise Refused(
            Fault(400, "invalid_image_file", message="Invalid image file or mode."), file.part
        ) from None


def _check_for_dall_e_2(file: File) -> None:
    for picture in _opened(file):
        if picture.format != "PNG" or picture.mode not in {"RGBA", "LA", "L"}:
            raise _invalid(file.part, f"It must be a PNG in RGBA, LA or L, got {picture.mode}.")
        if picture.width != picture.height:
            raise _invalid(file.part, "It must be square.")
    if len(file.data) >= MOST_BYTES:
        raise _invalid(file.part, "It must be less than 4 MB.")


def _invalid(part: str, message: str) -> Refused:
    return Refused(Fault(400, "invalid_image_format", message=message), part)


def _size(body: Json) -> tuple[int, int]:
    text = body.get("size") or "auto"
    width, height = (1024, 1024) if text == "auto" else (int(each) for each in text.split("x"))
    return width, height


def _encoded(picture: Image.Image, body: Json) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, (body.get("output_format") or "png").upper())
    return buffer.getvalue()
