"""Which pixels Google's models draw.

Nobody can ask these models for pixels: a call names an aspect ratio and a resolution, and the
model chooses the pixels. The sizes here are what Google documents or people measured, most of them
for one model only, so a picture may be some pixels off; what it really has is in its bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

from darkroom.domain import Size

#: Each resolution, and how many times longer than those of `1K` the edges of its pictures are.
SCALES = {"512": 0.5, "1K": 1.0, "2K": 2.0, "4K": 4.0}

#: The resolution that is drawn when a call names none.
DEFAULT_RESOLUTION = "1K"

#: Every ratio `generateContent` knows; on a tie the first is taken.
CONTENT_RATIOS = (
    "1:1",
    "1:4",
    "1:8",
    "2:3",
    "3:2",
    "3:4",
    "4:1",
    "4:3",
    "4:5",
    "5:4",
    "8:1",
    "9:16",
    "16:9",
    "21:9",
)

#: Every ratio `predict` knows.
PREDICT_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9")

#: The sizes of each family at `1K`.
GEMINI_2_5_AT_1K = (
    "1024x1024 832x1248 1248x832 864x1184 1184x864 896x1152 1152x896 768x1344 1344x768 1536x672"
)
GEMINI_3_AT_1K = (
    "1024x1024 848x1264 1264x848 896x1200 1200x896 928x1152 1152x928 768x1376 1376x768 1584x672"
)
GEMINI_3_1_AT_1K = f"{GEMINI_3_AT_1K} 512x2048 2048x512 384x3072 3072x384"
IMAGEN_AT_1K = "1024x1024 896x1280 1280x896 768x1408 1408x768"


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A size as Google's APIs name it."""

    #: Such as `16:9`.
    ratio: str
    #: `512`, `1K`, `2K` or `4K`.
    resolution: str


def sizes_at(at_1k: str, *resolutions: str) -> tuple[Size, ...]:
    """The sizes that `at_1k` names, in each of the resolutions."""
    sizes = [Size.parse(each) for each in at_1k.split()]
    scales = [SCALES[each] for each in resolutions]
    return tuple(
        Size(int(each.width * scale), int(each.height * scale))
        for scale in scales
        for each in sizes
    )


def frame_of(size: Size, ratios: Sequence[str]) -> Frame:
    """The ratio that looks most like `size`, and the resolution of about as many pixels."""
    edge = sqrt(size.pixels) / 1024
    return Frame(
        ratio=min(ratios, key=lambda each: round(abs(log(size.aspect / _aspect(each))), 9)),
        resolution=min(SCALES, key=lambda each: abs(log(edge / SCALES[each]))),
    )


def _aspect(ratio: str) -> float:
    width, height = ratio.split(":")
    return int(width) / int(height)
