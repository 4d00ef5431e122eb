"""Takes the pictures out of an answer of an AUTOMATIC1111 server, and what it says of them."""

import binascii
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson
import pybase64

from darkroom.domain import GeneratedImage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Info:
    """What the server says of the pictures it drew. Some servers say nothing."""

    seeds: tuple[int | None, ...] = ()
    #: How many pictures it drew, without grids and masks.
    count: int | None = None
    #: Where the first of them stands; a grid of all may come before it.
    first: int = 0
    checkpoint: str | None = None
    checkpoint_hash: str | None = None
    sampler: str | None = None
    #: When the run began, by the server's clock: it tells runs apart.
    began: str | None = None

    @classmethod
    def read(cls, text: Any) -> Self:
        """Read the JSON text in an answer's `info`."""
        try:
            content = orjson.loads(text) if isinstance(text, str) else None
        except orjson.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            return cls()
        checkpoint, checkpoint_hash, sampler, began = (
            value if isinstance(value := content.get(key), str) and value else None
            for key in ("sd_model_name", "sd_model_hash", "sampler_name", "job_timestamp")
        )
        first = content.get("index_of_first_image")
        first = first if isinstance(first, int) and first > 0 else 0
        seeds, texts = (
            value if isinstance(value := content.get(key), list) else []
            for key in ("all_seeds", "infotexts")
        )
        return cls(
            seeds=tuple(each if isinstance(each, int) and each >= 0 else None for each in seeds),
            # There is one text for each picture, and one for the grid.
            count=max(len(texts) - first, 0) or None,
            first=first,
            checkpoint=checkpoint,
            checkpoint_hash=checkpoint_hash,
            sampler=sampler,
            began=began,
        )


def read_pictures(
    encoded: Sequence[Any], info: Info, *, count: int, has_mask: bool
) -> list[GeneratedImage]:
    """The first `count` pictures that can be decoded, each with its seed."""
    drawn = info.count or len(info.seeds) or count
    candidates = encoded[info.first :]
    # A server may return the mask, and what it repainted, after each picture; what extensions
    # add comes after all of them.
    each_is_followed = has_mask and len(candidates) in {2 * drawn, 3 * drawn}
    stride = len(candidates) // drawn if each_is_followed else 1
    images = []
    for position, text in enumerate(candidates[::stride][: min(drawn, count)]):
        data = decoded(text)
        if data is None:
            logger.warning("A drawn picture is lost: it cannot be decoded.")
            continue
        seed = info.seeds[position] if position < len(info.seeds) else None
        images.append(GeneratedImage(data=data, seed=seed))
    return images


def decoded(text: Any) -> bytes | None:
    """The bytes of a picture in base64, after `data:` or not; None when there are none."""
    if not isinstance(text, str):
        return None
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return pybase64.b64decode(text, validate=True) or None
    except (binascii.Error, ValueError):
        return None
