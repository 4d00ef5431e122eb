"""Pictures to change, made ready for ComfyUI.

Its mask is the transparency of a picture: alpha 0 is repainted. The colours under it are kept, for
the model sees them.
"""

import io

from PIL import Image, ImageChops, ImageOps

from darkroom.domain import InputImage, Size

#: Both edges of what is drawn on are cut to a multiple of this, in pixels.
MULTIPLE = 8


def fitted(
    picture: InputImage, mask: bytes | None, size: Size | None
) -> tuple[InputImage, bytes | None]:
    """Both at `size`, by scaling and cutting off what is over at the edges.

    Without a size only the few pixels go that no latent can hold.
    """
    if size is None:
        return _cut(picture, mask)
    if size == picture.size:
        return picture, mask
    edges = (size.width, size.height)

    def scaled(image: Image.Image) -> Image.Image:
        # Each channel by itself, or the colours under transparency would be lost.
        bands = [ImageOps.fit(band, edges) for band in image.split()]
        return Image.merge(image.mode, bands)

    return (
        _encoded(scaled(_opened(picture.data))),
        None if mask is None else _encoded(scaled(_opened(mask))).data,
    )


def with_mask(picture: InputImage, mask: bytes) -> InputImage:
    """The picture with what is to be repainted made transparent."""
    image = _opened(picture.data).convert("RGB")
    image.putalpha(ImageChops.invert(_opened(mask).convert("L")))
    return _encoded(image)


def mask_picture(mask: bytes) -> InputImage:
    """A mask as a picture of its own: white is repainted."""
    return _encoded(_opened(mask).convert("RGB"))


def own_mask(picture: InputImage) -> bytes:
    """What to repaint where nobody said: what is transparent, or else everything."""
    image = _opened(picture.data)
    if image.mode == "RGBA":
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            return _encoded(ImageChops.invert(alpha)).data
    return _encoded(Image.new("L", image.size, 255)).data


def _cut(picture: InputImage, mask: bytes | None) -> tuple[InputImage, bytes | None]:
    width, height = picture.size.width, picture.size.height
    over = (width % MULTIPLE, height % MULTIPLE)
    if not any(over) or width < MULTIPLE or height < MULTIPLE:
        return picture, mask
    left, top = over[0] // 2, over[1] // 2
    box = (left, top, left + width - over[0], top + height - over[1])
    return (
        _encoded(_opened(picture.data).crop(box)),
        None if mask is None else _encoded(_opened(mask).crop(box)).data,
    )


def _opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    if image.mode in {"RGB", "RGBA", "L"}:
        return image
    is_transparent = image.has_transparency_data
    return image.convert("RGBA" if is_transparent else "RGB")


def _encoded(image: Image.Image) -> InputImage:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return InputImage(
        data=buffer.getvalue(), content_type="image/png", size=Size(image.width, image.height)
    )
