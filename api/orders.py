"""An order: what a caller asked for, before defaults, models and capabilities are looked at."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from darkroom.domain import Lane, Operation

#: The size that leaves the choice to the model.
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Order:
    """A valid request body. `None` means that the caller did not say."""

    operation: Operation = Operation.GENERATE
    prompt: str
    model: str | None = None
    engine: str | None = None
    #: `WIDTHxHEIGHT` or `auto`.
    size: str | None = None
    n: int = 1
    steps: int | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    quality: str | None = None
    output_format: str | None = None
    background: str | None = None
    strict: bool = False
    lane: Lane = Lane.INTERACTIVE
    #: From when on nobody wants the result, in seconds from now.
    deadline_s: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: Input images and mask of an edit, as they were given.
    image: tuple[str, ...] = ()
    mask: str | None = None
    #: Fields of another dialect that no engine is asked for. Like what a model cannot honour they
    #: are warned about, or refused when `strict`.
    not_honoured: tuple[str, ...] = ()

    @property
    def deadline(self) -> float | None:
        """Counted from now (Unix time, in seconds)."""
        return time.time() + self.deadline_s if self.deadline_s else None

    def digest(self) -> str:
        """Equal for equal orders; tells a replay from a reused idempotency key."""
        return hashlib.sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()
