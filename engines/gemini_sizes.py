"""Which pixels Google's models draw, and the words to ask for them.

Callers name pixels; the API takes an aspect ratio and a class of size. Each pair is a bucket of
known pixels. The picture's own header has the last word, so that a bucket that the vendor changed
makes a picture of another size and no failure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from darkroom.domain import Size
from engines.sizes import nearest_size

#: What `1K` means for Gemini's models, by aspect ratio.
GEMINI_1K: Mapping[str, Size] = MappingProxyType(
    {
        "1:1": Size(1024, 1024),
        "2:3": Size(832, 1248),
        "3:2": Size(1248, 832),
        "3:4": Size(864, 1184),
        "4:3": Size(1184, 864),
        "4:5": Size(896, 1152),
        "5:4": Size(1152, 896),
        "9:16": Size(768, 1344),
        "16:9": Size(1344, 768),
        "21:9": Size(1536, 672),
    }
)

#: What `1K` means for Imagen.
IMAGEN_1K: Mapping[str, Size] = MappingProxyType(
    {
        "1:1": Size(1024, 1024),
        "3:4": Size(896, 1280),
        "4:3": Size(1280, 896),
        "9:16": Size(768, 1408),
        "16:9": Size(1408, 768),
    }
)

#: How long the edges of a class of size are, as a share of those of `1K`.
SCALES: Mapping[str, float] = MappingProxyType({"512": 0.5, "1K": 1.0, "2K": 2.0, "4K": 4.0})


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """One pair of words, and the pixels it stands for."""

    #: `16:9` and its like.
    aspect: str
    #: A key of `SCALES`.
    scale: str
    size: Size


def buckets(shapes: Mapping[str, Size], scales: Iterable[str]) -> tuple[Bucket, ...]:
    """Every shape at every scale."""
    return tuple(
        Bucket(
            aspect=aspect,
            scale=scale,
            size=Size(round(size.width * SCALES[scale]), round(size.height * SCALES[scale])),
        )
        for scale in scales
        for aspect, size in shapes.items()
    )


def sizes(shapes: Mapping[str, Size], scales: Iterable[str]) -> tuple[Size, ...]:
    """The pixels of every shape at every scale."""
    return tuple(each.size for each in buckets(shapes, scales))


def words_for(size: Size, shapes: Mapping[str, Size]) -> Bucket:
    """How to ask for a size that is one of the buckets, or for the one most like it."""
    known = {each.size: each for each in buckets(shapes, SCALES)}
    return known[nearest_size(size, tuple(known))]
