"""Makes pictures that callers send into what every engine takes.

A picture to change becomes an upright PNG, JPEG or WebP; one that is that already keeps its bytes,
unless they tell where it was taken. A mask becomes a greyscale PNG of the size of the picture it
belongs to: 255 = repaint, 0 = keep.
"""

import io
import struct
from threading import BoundedSemaphore
from typing import Any

from PIL import ExifTags, Image, ImageChops

from darkroom.domain import InputImage, Size
from darkroom.errors import InvalidPicture
from storage import inspection
from storage.inspection import CONTENT_TYPES, SEVERAL_JPEGS, inspect

JPEGS = frozenset({"JPEG", SEVERAL_JPEGS})

#: What is passed on as it came, when it is upright and a single picture.
KEPT_FORMATS = JPEGS | {"PNG", "WEBP"}
KEPT_MODES = frozenset({"RGB", "RGBA", "L", "LA", "P", "1"})

#: What to do to a picture by how its camera was held, as EXIF has it.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: What Pillow raises for EXIF that is damaged, sooner or later.
DAMAGED = (ArithmeticError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error)

#: Where XMP, the other kind of metadata, names a place.
XMP_PLACE = b"exif:GPS"

#: Pixels of 16 bits, by Pillow's names; it would cut off all that is over 255.
DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L"})

#: The largest pictures take half a GiB each while they are decoded.
_decoding = BoundedSemaphore(4)


def normalize(data: bytes) -> InputImage:
    """A picture to change. Raises InvalidPicture."""
    found = inspect(data)
    with _decoding, _opened(data) as image:
        if _is_fit(image):
            return InputImage(
                data=data, content_type=found.content_type, size=Size(found.width, found.height)
            )
        upright = _decoded(image)
        # A photo as a PNG is many times as large, and vendors set limits.
        kind = "JPEG" if image.format in JPEGS else "PNG"
        encoded = _encoded(upright, kind, _profile(image, upright))
    return InputImage(data=encoded, content_type=CONTENT_TYPES[kind], size=Size(*upright.size))


def normalize_mask(data: bytes, size: Size) -> InputImage:
    """A mask for a picture of that size.

    Where it has transparency, what is transparent is repainted, as in OpenAI's API; otherwise what
    is white. Raises InvalidPicture.
    """
    inspect(data)
    with _decoding, _opened(data) as image:
        mask = _decoded(image)
        if mask.size != (size.width, size.height):
            raise InvalidPicture(
                f"The mask is {mask.width}x{mask.height}, but the first picture is {size}: send one"
                " of the same size."
            )
        alpha = mask.getchannel("A") if mask.mode == "RGBA" else None
        if alpha is None or alpha.getextrema() == (255, 255):
            repaint = mask.convert("L")
        else:
            repaint = ImageChops.invert(alpha)
        # Not merely black: what was a black JPEG once is not quite that any more.
        if not any(repaint.histogram()[128:]):
            raise InvalidPicture(
                "The mask marks nothing to repaint: make that transparent, or white on black."
            )
        return InputImage(data=_encoded(repaint, "PNG"), content_type="image/png", size=size)


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=list(CONTENT_TYPES))


def _is_fit(image: Image.Image) -> bool:
    """Whether every engine takes it as it is, and it tells nothing of places."""
    return (
        image.format in KEPT_FORMATS
        and image.mode in KEPT_MODES
        and _turn(image) is None
        and (image.format == SEVERAL_JPEGS or not getattr(image, "is_animated", False))
        and not _tells_place(image)
    )


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What it takes to set it upright; nothing where its EXIF cannot be read."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGED:
        return None


def _tells_place(image: Image.Image) -> bool:
    try:
        has_place = bool(image.getexif().get_ifd(ExifTags.IFD.GPSInfo))
    except DAMAGED:
        # Who knows what others can read in it.
        has_place = True
    xmp = image.info.get("xmp", b"")
    # Text of that name is no XMP of a camera's, and who knows what it says.
    return has_place or not isinstance(xmp, bytes) or XMP_PLACE in xmp


def _decoded(image: Image.Image) -> Image.Image:
    """The first picture in it, the right way up, as L, RGB or RGBA. Raises InvalidPicture."""
    turn = _turn(image)
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidPicture("The picture is broken.") from error
    if isinstance(image.info.get("transparency"), str):
        # A text of that name, beside the pixels.
        del image.info["transparency"]
    upright = image.copy() if turn is None else image.transpose(turn)
    if upright.mode in DEEP_MODES:
        return upright.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if upright.has_transparency_data:
        return upright.convert("RGBA")
    return upright.convert("L" if upright.mode in {"1", "L"} else "RGB")


def _profile(image: Image.Image, upright: Image.Image) -> bytes | None:
    """What its colours mean, where it still says that of the decoded picture."""
    is_as_it_was = image.mode == upright.mode or image.mode in {"P", "RGB"}
    return image.info.get("icc_profile") if is_as_it_was else None


def _encoded(picture: Image.Image, kind: str, profile: bytes | None = None) -> bytes:
    """The pixels and nothing beside them: no places, names or cameras. Raises InvalidPicture."""
    options: dict[str, Any] = {"compress_level": 1}
    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0}
    picture.info = {}
    buffer = io.BytesIO()
    picture.save(buffer, kind, icc_profile=profile, **options)
    if buffer.tell() > inspection.MAX_BYTES:
        raise InvalidPicture(
            "The picture is too large once it is upright and a single PNG: send a smaller one."
        )
    return buffer.getvalue()
