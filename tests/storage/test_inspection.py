"""What is kept is a picture, whatever it is called; what is none is refused in words."""

import io
import struct
import zlib

import pytest
from PIL import Image

from darkroom.errors import InvalidPicture
from storage import inspection
from storage.inspection import Picture, inspect
from tests.storage.builders import encoded

SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
)


def a_png_header(width: int, height: int) -> bytes:
    """A PNG that promises this many pixels and holds none of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def detailed(kind: str) -> bytes:
    """A picture with enough in it to cut something off."""
    buffer = io.BytesIO()
    Image.radial_gradient("L").save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
    ],
)
def test_the_type_and_size_come_from_the_bytes(kind: str, content_type: str) -> None:
    data = encoded(kind, size=(30, 20))

    assert inspect(data) == Picture(
        content_type=content_type, width=30, height=20, size_bytes=len(data)
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Internal Server Error",
        b'{"error": "busy"}',
        SVG,
        encoded("BMP"),
        encoded("TIFF"),
        encoded("ICO"),
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=["empty", "text", "json", "svg", "bmp", "tiff", "ico", "signature"],
)
def test_what_is_no_picture_of_a_kept_kind_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidPicture, match="no PNG, JPEG, WebP or GIF"):
        inspect(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_picture_that_is_cut_off_is_refused(kind: str, share: float) -> None:
    data = detailed(kind)

    with pytest.raises(InvalidPicture):
        inspect(data[: int(len(data) * share)])


def test_a_png_with_a_flipped_bit_is_refused() -> None:
    data = bytearray(detailed("PNG"))
    data[len(data) // 2] ^= 1

    with pytest.raises(InvalidPicture, match="broken"):
        inspect(bytes(data))


@pytest.mark.parametrize("side", [8_001, 12_000, 60_000])
def test_a_picture_of_too_many_pixels_is_refused_unseen(side: int) -> None:
    with pytest.raises(InvalidPicture, match="64,000,000"):
        inspect(a_png_header(side, 8_000))


def test_a_picture_of_just_enough_pixels_is_kept() -> None:
    assert inspect(a_png_header(8_000, 8_000)).width == 8_000


def test_a_picture_of_too_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded()
    monkeypatch.setattr(inspection, "MAX_BYTES", len(data) - 1)

    with pytest.raises(InvalidPicture, match="MiB"):
        inspect(data)


def test_zeros_behind_a_jpeg_do_no_harm() -> None:
    assert inspect(encoded("JPEG") + bytes(8)).content_type == "image/jpeg"
