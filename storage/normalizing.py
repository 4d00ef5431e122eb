"""Makes pictures that callers send into what every engine takes.

A picture to change becomes an upright PNG, JPEG or WebP; one that is that already keeps its bytes.
A mask becomes a greyscale PNG of the size of the picture it belongs to: 255 = repaint, 0 = keep.
"""

import io

from PIL import Image, ImageChops, ImageOps

from darkroom.domain import InputImage, Size
from darkroom.errors import InvalidPicture
from storage.inspection import CONTENT_TYPES, inspect

#: What is passed on as it came, when it is upright and a single picture.
KEPT_FORMATS = frozenset({"PNG", "JPEG", "WEBP"})
KEPT_MODES = frozenset({"RGB", "RGBA", "L", "LA", "P", "1"})

#: The EXIF field that says how a camera was held.
ORIENTATION = 0x0112


def normalize(data: bytes) -> InputImage:
    """A picture to change. Raises InvalidPicture."""
    found = inspect(data)
    with _opened(data) as image:
        is_kept = (
            image.format in KEPT_FORMATS
            and image.mode in KEPT_MODES
            and image.getexif().get(ORIENTATION, 1) == 1
            and not getattr(image, "is_animated", False)
        )
        if is_kept:
            return InputImage(
                data=data, content_type=found.content_type, size=Size(found.width, found.height)
            )
        upright = _decoded(image)
    upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    return InputImage(data=_png(upright), content_type="image/png", size=Size(*upright.size))


def normalize_mask(data: bytes, size: Size) -> InputImage:
    """A mask for a picture of that size.

    Where it has transparency, what is transparent is repainted, as in OpenAI's API; otherwise what
    is white. Raises InvalidPicture.
    """
    inspect(data)
    with _opened(data) as image:
        mask = _decoded(image)
    if mask.size != (size.width, size.height):
        raise InvalidPicture(
            f"The mask is {mask.width}x{mask.height}, but the first picture is {size}: send one of"
            " the same size."
        )
    alpha = mask.convert("RGBA").getchannel("A")
    is_opaque = alpha.getextrema() == (255, 255)
    repaint = mask.convert("L") if is_opaque else ImageChops.invert(alpha)
    if repaint.getextrema() == (0, 0):
        raise InvalidPicture(
            "The mask marks nothing to repaint: make that transparent, or white on black."
        )
    return InputImage(data=_png(repaint), content_type="image/png", size=size)


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=list(CONTENT_TYPES))


def _decoded(image: Image.Image) -> Image.Image:
    """The first picture in it, the right way up, without anything but pixels."""
    try:
        upright = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidPicture("The picture is broken.") from error
    return upright


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # Without what the picture's file said beside its pixels: places, names, cameras.
    image.info = {}
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
