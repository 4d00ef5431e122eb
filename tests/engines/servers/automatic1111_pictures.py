"""Pictures of the AUTOMATIC1111 stand-in: they show which checkpoint, seed and input made them."""

import base64
import io
from hashlib import sha256
from typing import Any

from PIL import Image, ImageColor, ImageOps
from PIL.PngImagePlugin import PngInfo

from tests.engines.servers.automatic1111_rules import Fault, Json

FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}


def colour(checkpoint: str, seed: int) -> tuple[int, int, int]:
    """The colour of every picture that this checkpoint (its file's name) draws from this seed."""
    red, green, blue = sha256(f"{checkpoint} {seed}".encode()).digest()[:3]
    return red, green, blue


def decode_input(text: Any) -> Image.Image:
    """A picture a client sent. Raises Fault as the server does, with 500 for its mistakes."""
    if not isinstance(text, str):
        raise Fault(500, text="Invalid encoded image")
    if text.startswith(("http://", "https://")):
        raise Fault(500, text="Request to local resource not allowed")
    try:
        data = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text)
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (ValueError, OSError) as error:
        raise Fault(500, text="Invalid encoded image") from error
    return picture


def draw(
    body: Json, *, checkpoint: str, seed: int, init: Image.Image | None, mask: Image.Image | None
) -> Image.Image:
    """One picture. Edges that are no multiple of 8 are cut down."""
    scale = body["hr_scale"] if body["enable_hr"] and init is None else 1
    size = (int(body["width"] * scale) // 8 * 8, int(body["height"] * scale) // 8 * 8)
    picture = Image.new("RGB", size, colour(checkpoint, seed))
    if init is None:
        return picture
    before = _resized(init.convert("RGB"), size, body["resize_mode"])
    if mask is None:
        return Image.blend(before, picture, body["denoising_strength"])
    repainted = _resized(_mask(mask, is_inverted=bool(body["inpainting_mask_invert"])), size, 0)
    return Image.composite(picture, before, repainted)


def _mask(mask: Image.Image, *, is_inverted: bool) -> Image.Image:
    """White is repainted. A mask with any transparency is judged by that instead: opaque is."""
    has_alpha = mask.mode == "RGBA" and mask.getextrema()[-1] != (255, 255)
    grey = mask.getchannel("A") if has_alpha else mask.convert("L")
    grey = grey.point(lambda value: 255 if value > 128 else 0)
    return ImageOps.invert(grey) if is_inverted else grey


def _resized(picture: Image.Image, size: tuple[int, int], mode: int) -> Image.Image:
    match mode:
        case 1:
            return ImageOps.fit(picture, size)
        case 2:
            return ImageOps.pad(picture, size)
        case _:
            return picture.resize(size)


def unfinished(size: tuple[int, int]) -> Image.Image:
    """What an interrupted run returns."""
    return Image.new("RGB", size, ImageColor.getrgb("grey"))


def encode(picture: Image.Image, kind: str, text: str | None = None) -> str:
    """In base64, as the option `samples_format` says. Raises Fault for formats it does not know."""
    if kind not in FORMATS:
        raise Fault(500, text="Invalid image format")
    buffer = io.BytesIO()
    if kind == "png":
        notes = PngInfo()
        if text is not None:
            notes.add_text("parameters", text)
        picture.save(buffer, "PNG", pnginfo=notes)
    else:
        picture.save(buffer, FORMATS[kind])
    return base64.b64encode(buffer.getvalue()).decode()


def grid(pictures: list[Image.Image]) -> Image.Image:
    """All pictures in a row."""
    whole = Image.new("RGB", (sum(each.width for each in pictures), pictures[0].height))
    left = 0
    for each in pictures:
        whole.paste(each, (left, 0))
        left += each.width
    return whole
