"""Thumbnails: made once, as small as is enough, and gone with their picture."""

import io
from typing import BinaryIO

import pytest
from PIL import Image

from darkroom.errors import NotFound
from darkroom.settings import Settings
from storage import Storage
from storage.files import Files
from storage.gallery import Gallery
from tests.storage.builders import a_picture, encoded, running, shown


def decoded(file: BinaryIO | None) -> Image.Image:
    assert file is not None
    with file, Image.open(file) as image:
        image.load()
        return image


@pytest.mark.parametrize(
    ("asked", "made"), [(1, 64), (64, 64), (65, 128), (200, 256), (512, 512), (513, 1024)]
)
def test_a_thumbnail_has_the_next_larger_width(
    storage: Storage, owner_id: str, asked: int, made: int
) -> None:
    picture = a_picture(encoded("JPEG", size=(1600, 800)))
    (image,) = shown(storage, running(storage, owner_id), picture)

    thumbnail = decoded(storage.gallery.open_thumbnail(image, asked))

    assert thumbnail.format == "WEBP"
    assert thumbnail.size == (made, made // 2)


@pytest.mark.parametrize(("width", "asked"), [(64, 64), (64, 10), (500, 257), (1500, 1025)])
def test_a_picture_no_larger_than_its_thumbnail_has_none(
    storage: Storage, owner_id: str, width: int, asked: int
) -> None:
    picture = a_picture(encoded(size=(width, 32)))
    (image,) = shown(storage, running(storage, owner_id), picture)

    assert storage.gallery.open_thumbnail(image, asked) is None


def test_a_thumbnail_is_made_once(storage: Storage, owner_id: str) -> None:
    (image,) = shown(storage, running(storage, owner_id), a_picture(encoded(size=(200, 200))))
    decoded(storage.gallery.open_thumbnail(image, 64))
    original, _ = storage.files.keys()
    storage.files.delete(original)

    assert decoded(storage.gallery.open_thumbnail(image, 64)).width == 64


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("GIF", "P")]
)
def test_transparency_is_kept(storage: Storage, owner_id: str, kind: str, mode: str) -> None:
    picture = a_picture(_transparent(kind, mode))
    (image,) = shown(storage, running(storage, owner_id), picture)

    thumbnail = decoded(storage.gallery.open_thumbnail(image, 64))

    assert thumbnail.mode == "RGBA"
    corner = thumbnail.getpixel((0, 0))
    assert isinstance(corner, tuple)
    assert corner[3] == 0


def _transparent(kind: str, mode: str) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    (image.convert(mode) if mode != "P" else image).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "1", "CMYK"])
def test_pictures_of_any_mode_get_a_thumbnail(storage: Storage, owner_id: str, mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    picture = a_picture(encoded(kind, size=(100, 100), mode=mode, color="black"))
    (image,) = shown(storage, running(storage, owner_id), picture)

    assert decoded(storage.gallery.open_thumbnail(image, 64)).size == (64, 64)


def test_a_very_wide_picture_has_a_thumbnail_of_some_height(
    storage: Storage, owner_id: str
) -> None:
    (image,) = shown(storage, running(storage, owner_id), a_picture(encoded(size=(3000, 2))))

    assert decoded(storage.gallery.open_thumbnail(image, 64)).size == (64, 1)


def test_a_picture_that_cannot_be_decoded_has_no_thumbnail(storage: Storage, owner_id: str) -> None:
    data = bytearray(encoded("GIF", size=(100, 100)))
    data[-20:-2] = bytes(18)
    (image,) = shown(storage, running(storage, owner_id), a_picture(bytes(data)))

    assert storage.gallery.open_thumbnail(image, 64) is None


def test_a_thumbnail_that_comes_after_its_picture_was_deleted_is_not_kept(
    storage: Storage, owner_id: str, settings: Settings
) -> None:
    (image,) = shown(storage, running(storage, owner_id), a_picture(encoded(size=(200, 200))))

    class SlowFiles(Files):
        def put(self, key: str, data: bytes) -> None:
            storage.gallery.delete(image)
            super().put(key, data)

    gallery = Gallery(storage.database, SlowFiles(settings.storage))

    with pytest.raises(NotFound):
        gallery.open_thumbnail(image, 64)
    assert storage.files.keys() == []
