"""Is it a picture? What its bytes say, whatever a header or a file name claims."""

import io
import warnings
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from darkroom.errors import InvalidPicture

#: The formats that are kept, by Pillow's name, with their media types.
CONTENT_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
}

#: What Pillow calls a JPEG that is followed by further ones, as phones and 3D cameras write them.
#: Everybody else sees a JPEG and reads the first.
SEVERAL_JPEGS = "MPO"

#: What the formats end with whose end nothing else checks, and how far from the last byte that
#: may be: some cameras and programs write a little behind a JPEG.
ENDINGS = {"JPEG": (b"\xff\xd9", 4096), "GIF": (b";", 1)}

#: Largest picture that is kept: 64 megapixels, 64 MiB.
MAX_PIXELS = 64_000_000
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is known of a picture's bytes. Sizes are in pixels."""

    content_type: str
    width: int
    height: int
    size_bytes: int


def inspect(data: bytes) -> Picture:
    """Check that `data` is a whole picture of a kind we keep.

    The pixels are not decoded: a checksum walk for PNG, and the structure of the others, cost a
    tenth of that. Raises InvalidPicture.
    """
    if len(data) > MAX_BYTES:
        raise InvalidPicture(
            f"The picture has {len(data) // 2**20} MiB; at most {MAX_BYTES // 2**20} are kept."
        )
    try:
        with warnings.catch_warnings():
            # Pillow's own alarm for huge pictures: the limit below answers it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=list(CONTENT_TYPES)) as image:
                width, height = image.size
                kind = "JPEG" if image.format == SEVERAL_JPEGS else str(image.format)
                image.verify()
    except UnidentifiedImageError as error:
        raise InvalidPicture("The picture is no PNG, JPEG, WebP or GIF.") from error
    except Image.DecompressionBombError as error:
        raise InvalidPicture(
            f"The picture is far too large: at most {MAX_PIXELS:,} pixels are kept."
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidPicture("The picture is broken.") from error
    if width * height > MAX_PIXELS:
        raise InvalidPicture(
            f"The picture has {width}x{height} pixels; at most {MAX_PIXELS:,} are kept."
        )
    ending, within = ENDINGS.get(kind, (b"", 1))
    if ending not in data.rstrip(b"\0")[-within:]:
        raise InvalidPicture("The picture is cut off.")
    return Picture(
        content_type=CONTENT_TYPES[kind], width=width, height=height, size_bytes=len(data)
    )
