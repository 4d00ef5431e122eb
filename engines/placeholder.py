"""Draws the built-in engine's picture: pleasant, labelled, and plainly not made by an AI model.

The same prompt, seed and size always give the same picture. An edit lets the picture to change
shine through; with a mask, everything else stays as it was.
"""

import io
from collections.abc import Iterator
from colorsys import hls_to_rgb
from dataclasses import dataclass
from hashlib import blake2b

from PIL import Image, ImageDraw, ImageFilter

from darkroom.domain import Size
from engines.label import label

#: Art is soft, so it is painted this much smaller than the picture.
REDUCTION = 3

Colour = tuple[int, int, int]


#: How much of a picture that is edited shines through.
SHINE = 0.65


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What to draw."""

    prompt: str
    seed: int
    size: Size
    #: Small print under the prompt.
    notes: tuple[str, ...] = ()
    output_format: str = "png"
    transparent: bool = False
    #: The encoded picture that an edit changes.
    original: bytes | None = None
    #: Where to change it: encoded, greyscale, 255 = repaint. None for everywhere.
    mask: bytes | None = None


def draw(drawing: Drawing) -> bytes:
    """The encoded picture, of exactly the size asked for."""
    picture = _paint(drawing)
    original = _original(drawing)
    if original is not None:
        picture = Image.blend(picture, original, SHINE)
    # A transparent picture loses its margins, so the label keeps away from them.
    margin = max(2, min(picture.size) // (9 if drawing.transparent else 24))
    label(picture, drawing.prompt, drawing.notes, margin=margin)
    if original is not None and drawing.mask is not None:
        picture = Image.composite(picture, original, _mask(drawing.mask, picture.size))
    if drawing.transparent:
        picture.putalpha(_card(picture.size))
    buffer = io.BytesIO()
    match drawing.output_format:
        case "jpeg":
            picture.convert("RGB").save(buffer, "JPEG", quality=88)
        case "webp":
            picture.save(buffer, "WEBP", quality=88, method=0)
        case _:
            # Deflating harder takes ten times as long and saves little on a placeholder.
            picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _paint(drawing: Drawing) -> Image.Image:
    """A gradient with soft circles, all chosen by prompt and seed."""
    choices = _choices(drawing)
    width, height = (
        max(16, edge // REDUCTION) for edge in (drawing.size.width, drawing.size.height)
    )
    hue = next(choices)
    corners = Image.new("RGB", (2, 2))
    for position, turn in (((0, 0), 0.0), ((1, 0), 0.07), ((0, 1), 0.16), ((1, 1), 0.3)):
        corners.putpixel(position, _colour(hue + turn, 0.32 + 0.25 * next(choices)))
    art = corners.resize((width, height), Image.Resampling.BICUBIC)

    canvas = ImageDraw.Draw(art, "RGBA")
    reach = min(width, height)
    for index in range(9):
        x, y = next(choices) * width, next(choices) * height
        radius = reach * (0.08 + 0.34 * next(choices) ** 2)
        colour = _colour(hue + 0.45 * next(choices), 0.45 + 0.3 * next(choices))
        box = (x - radius, y - radius, x + radius, y + radius)
        if index % 3 == 2:
            canvas.ellipse(box, outline=(*colour, 170), width=max(1, reach // 60))
        else:
            canvas.ellipse(box, fill=(*colour, 80))
    soft = art.filter(ImageFilter.GaussianBlur(0.7))
    return soft.resize((drawing.size.width, drawing.size.height), Image.Resampling.BICUBIC)


def _original(drawing: Drawing) -> Image.Image | None:
    """The picture to change, at the size of the drawing."""
    if drawing.original is None:
        return None
    size = (drawing.size.width, drawing.size.height)
    with Image.open(io.BytesIO(drawing.original)) as image:
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _mask(data: bytes, size: tuple[int, int]) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("L").resize(size, Image.Resampling.NEAREST)


def _choices(drawing: Drawing) -> Iterator[float]:
    """Endless numbers from 0 to 1 that depend on nothing but prompt, seed and size."""
    words = f"{drawing.seed}\n{drawing.size}\n{drawing.prompt}".encode("utf-8", "surrogatepass")
    digest = blake2b(words).digest()
    while True:
        yield from (byte / 255 for byte in digest)
        digest = blake2b(digest).digest()


def _colour(hue: float, lightness: float) -> Colour:
    red, green, blue = hls_to_rgb(hue % 1.0, lightness, 0.55)
    return round(red * 255), round(green * 255), round(blue * 255)


def _card(size: tuple[int, int]) -> Image.Image:
    """What is left of a transparent picture: a card with round corners, on nothing."""
    margin = min(size) // 16
    mask = Image.new("L", size, 0)
    box = (margin, margin, size[0] - margin - 1, size[1] - margin - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=min(size) // 8, fill=255)
    return mask
