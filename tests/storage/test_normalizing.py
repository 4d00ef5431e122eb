"""What callers send becomes what every engine takes: upright, and with nothing but a picture."""

import io
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from darkroom.domain import InputImage, Size
from darkroom.errors import InvalidPicture
from storage import inspection
from storage.inspection import CONTENT_TYPES
from storage.normalizing import normalize, normalize_mask
from tests.storage.builders import encoded

SIZE = Size(40, 20)


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(found: InputImage) -> Image.Image:
    """The picture in it, decoded to its last pixel; it is what it says it is."""
    picture = Image.open(io.BytesIO(found.data))
    picture.load()
    assert Size(*picture.size) == found.size
    assert CONTENT_TYPES[str(picture.format)] == found.content_type
    return picture


def a_photo(**fields: Any) -> Image.Exif:
    """What a camera writes: `orientation`, and the `place` it was at."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Acme"
    if "orientation" in fields:
        exif[ExifTags.Base.Orientation] = fields["orientation"]
    if "place" in fields:
        exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = fields["place"]
    return exif


def red_on_top() -> Image.Image:
    picture = Image.new("RGB", (40, 20), "blue")
    picture.paste("red", (0, 0, 40, 10))
    return picture


def is_red(pixel: Any) -> bool:
    return bool(pixel[0] > 200 and pixel[2] < 60)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_upright_picture_keeps_its_bytes(kind: str) -> None:
    data = encoded(kind, size=(40, 20))

    assert normalize(data) == InputImage(data=data, content_type=CONTENT_TYPES[kind], size=SIZE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_usual_kinds_of_pixels_are_kept(mode: str) -> None:
    data = saved(Image.new(mode, (40, 20)))

    assert normalize(data).data == data


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "to_camera"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_a_turned_picture_comes_out_upright(
    kind: str, orientation: int, to_camera: Image.Transpose
) -> None:
    upright = red_on_top()
    upright.paste("lime", (0, 0, 8, 20))
    exif = a_photo(orientation=orientation)
    turned = saved(upright.transpose(to_camera), kind, exif=exif, quality=95)

    picture = opened(normalize(turned))

    assert picture.size == (40, 20)
    assert is_red(picture.getpixel((30, 3)))
    assert not is_red(picture.getpixel((30, 16)))
    _, green, _ = picture.getpixel((2, 10))  # type: ignore[misc]
    assert green > 200
    assert not picture.getexif()


def test_a_turned_photo_stays_a_jpeg() -> None:
    noise = Image.effect_noise((640, 480), 90).convert("RGB")
    data = saved(noise, "JPEG", exif=a_photo(orientation=6), quality=90)

    found = normalize(data)

    assert found.content_type == "image/jpeg"
    assert len(found.data) < 3 * len(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_where_a_picture_was_taken_is_not_passed_on(kind: str) -> None:
    found = normalize(saved(red_on_top(), kind, exif=a_photo(place="N")))

    picture = opened(found)
    assert not picture.getexif()
    assert is_red(picture.getpixel((30, 3)))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_place_in_xmp_is_not_passed_on(kind: str) -> None:
    xmp = b'<x:xmpmeta><rdf:Description exif:GPSLatitude="53,33.1N"/></x:xmpmeta>'

    assert b"GPSLatitude" not in normalize(saved(red_on_top(), kind, xmp=xmp)).data


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "exif",
    [
        b"MX\0*\0\0\0\x08",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x25\x88\x04\0\x01\0\0\0\xff\xff\xff\xff\0\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\06\0\0\0\0\0\0\0",
    ],
)
def test_damaged_exif_does_no_harm(exif: bytes) -> None:
    found = normalize(saved(red_on_top(), "JPEG", exif=b"Exif\0\0" + exif))

    assert is_red(opened(found).getpixel((30, 3)))


def test_colours_keep_their_meaning_when_a_picture_is_turned() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(red_on_top(), "JPEG", exif=a_photo(orientation=3), icc_profile=profile)

    assert opened(normalize(data)).info["icc_profile"] == profile


def test_a_phone_s_jpeg_with_a_second_picture_behind_it_is_a_jpeg() -> None:
    data = saved(red_on_top(), "MPO", save_all=True, append_images=[red_on_top()])

    found = normalize(data)

    assert (found.data, found.content_type) == (data, "image/jpeg")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_picture_counts(kind: str) -> None:
    more = [Image.new("RGB", (40, 20), "blue")]
    data = saved(Image.new("RGB", (40, 20), "red"), kind, save_all=True, append_images=more)

    found = normalize(data)

    assert found.content_type == "image/png"
    picture = opened(found)
    assert getattr(picture, "n_frames", 1) == 1
    assert is_red(picture.convert("RGB").getpixel((20, 10)))


def test_what_is_transparent_stays_so() -> None:
    picture = Image.new("RGBA", (40, 20), (255, 0, 0, 0))
    data = saved(picture, "WEBP", lossless=True, exif=a_photo(orientation=3))

    assert opened(normalize(data)).getchannel("A").getextrema() == (0, 0)


def test_print_colours_become_those_of_screens() -> None:
    assert opened(normalize(saved(Image.new("CMYK", (40, 20)), "JPEG"))).mode == "RGB"


def test_sixteen_bits_of_grey_keep_their_brightness() -> None:
    data = saved(Image.new("I;16", (40, 20), 0x8000))

    assert opened(normalize(data)).getpixel((0, 0)) in {127, 128}


def test_a_picture_that_grows_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.effect_noise((200, 200), 90).convert("RGB")
    data = saved(noise, "WEBP", quality=20, exif=a_photo(orientation=3))
    monkeypatch.setattr(inspection, "MAX_BYTES", len(data) + 1)

    with pytest.raises(InvalidPicture, match="too large"):
        normalize(data)


def test_pixels_that_cannot_be_decoded_are_refused() -> None:
    exif = a_photo(orientation=6)
    data = saved(Image.effect_noise((200, 200), 90), "WEBP", exif=exif)
    start = data.index(b"VP8 ") + 8

    with pytest.raises(InvalidPicture, match="broken"):
        normalize(data[:start] + bytes(1000) + data[start + 1000 :])


class TestMask:
    """Whatever a mask looks like, 255 means repaint afterwards, and 0 means keep."""

    LEFT = (0, 0, 20, 20)

    @staticmethod
    def repainted(data: bytes) -> Image.Image:
        picture = opened(normalize_mask(data, SIZE))
        assert (picture.format, picture.mode) == ("PNG", "L")
        return picture

    def halves(self, data: bytes) -> tuple[Any, Any]:
        picture = self.repainted(data)
        return picture.getpixel((5, 10)), picture.getpixel((35, 10))

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
    def test_white_is_repainted_where_nothing_is_transparent(self, mode: str) -> None:
        mask = Image.new("RGB", (40, 20), "black")
        mask.paste("white", self.LEFT)

        assert self.halves(saved(mask.convert(mode))) == (255, 0)

    @pytest.mark.parametrize("colour", ["white", "black"])
    def test_what_is_transparent_is_repainted_whatever_its_colour(self, colour: str) -> None:
        mask = Image.new("RGBA", (40, 20), colour)
        mask.putalpha(255)
        mask.paste((255, 255, 255, 0), self.LEFT)

        assert self.halves(saved(mask)) == (255, 0)

    def test_grey_with_transparency_is_read_by_its_transparency(self) -> None:
        mask = Image.new("LA", (40, 20), (255, 255))
        mask.paste((0, 0), self.LEFT)

        assert self.halves(saved(mask)) == (255, 0)

    def test_a_transparent_colour_of_a_palette_counts(self) -> None:
        mask = Image.new("P", (40, 20), 1)
        mask.putpalette([0, 0, 0, 255, 255, 255])
        mask.paste(0, self.LEFT)

        assert self.halves(saved(mask, transparency=0)) == (255, 0)

    def test_what_is_half_transparent_is_half_repainted(self) -> None:
        mask = Image.new("RGBA", (40, 20), (0, 0, 0, 255))
        mask.paste((0, 0, 0, 100), self.LEFT)

        assert self.halves(saved(mask)) == (155, 0)

    def test_a_jpeg_mask_is_read_by_its_brightness(self) -> None:
        mask = Image.new("L", (40, 20), 0)
        mask.paste(255, self.LEFT)

        left, right = self.halves(saved(mask, "JPEG", quality=95))

        assert left > 250
        assert right < 5

    def test_sixteen_bits_are_no_brighter_than_eight(self) -> None:
        mask = Image.new("I;16", (40, 20), 0x0100)
        mask.paste(0xFFFF, self.LEFT)

        assert self.halves(saved(mask)) == (255, 0)

    def test_a_turned_mask_is_set_upright(self) -> None:
        mask = Image.new("L", (20, 40), 0)
        mask.paste(255, (0, 20, 20, 40))

        turned = saved(mask, exif=a_photo(orientation=6))

        assert self.halves(turned) == (255, 0)

    def test_another_size_is_refused_with_both_named(self) -> None:
        with pytest.raises(InvalidPicture, match=r"41x20.*40x20"):
            normalize_mask(saved(Image.new("L", (41, 20), 255)), SIZE)

    @pytest.mark.parametrize(
        "mask",
        [
            Image.new("L", (40, 20), 0),
            Image.new("RGBA", (40, 20), (0, 0, 0, 255)),
            Image.new("RGBA", (40, 20), (255, 255, 255, 254)),
            Image.new("L", (40, 20), 3),
        ],
        ids=["black", "opaque", "nearly-opaque", "nearly-black"],
    )
    def test_a_mask_that_marks_nothing_is_refused(self, mask: Image.Image) -> None:
        with pytest.raises(InvalidPicture, match="marks nothing"):
            normalize_mask(saved(mask), SIZE)

    def test_what_is_no_picture_is_refused(self) -> None:
        with pytest.raises(InvalidPicture):
            normalize_mask(b"<svg/>", SIZE)


@pytest.mark.parametrize("name", ["xmp", "transparency", "icc_profile"])
def test_a_text_that_is_called_like_metadata_does_no_harm(name: str) -> None:
    notes = PngInfo()
    notes.add_text(name, "anything")
    data = saved(Image.new("L", (40, 20), 255), pnginfo=notes)

    assert normalize(data).size == SIZE
    assert normalize_mask(data, SIZE).size == SIZE
