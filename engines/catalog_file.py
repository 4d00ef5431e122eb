"""Reads what an admin says about models.

The file is JSON: engine, then model, then what differs from what Darkroom knows.

```json
{"openai": {"my-deployment": {"name": "Ours", "sizes": ["1024x1024"], "max_count": 1},
            "gpt-image-2": {"qualities": ["low", "medium"]}}}
```

Besides `name`, `retired_on` and `price` an entry takes the fields of
`darkroom.domain.Capabilities`; `sizes` is a list, or an object with the fields of `FreeSizes`.
`price` is described in `engines.price_file`; the model `*` stands for all others of an engine, and
takes nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from darkroom.domain import Capabilities, FreeSizes, MaskSupport, Model, Size
from darkroom.errors import SettingsError
from engines.price_file import PriceFault, read_price
from engines.prices import Price
from engines.sizes import is_drawable, nearest_size

FLAGS = frozenset({"negative_prompt", "seed"})
WORD_LISTS = frozenset({"qualities", "output_formats", "backgrounds"})
CAPABILITIES = frozenset(each.name for each in fields(Capabilities))
SIZE_LIMITS = frozenset(each.name for each in fields(FreeSizes))
MAY_BE_ZERO = frozenset({"max_input_images", "max_partial_images", "max_seed", "min_pixels"})


#: The model that stands for all others of an engine.
ANY_MODEL = "*"


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What an admin says about one model."""

    engine: str
    model_id: str
    capabilities: Mapping[str, Any]
    name: str | None = None
    retired_on: str | None = None
    #: None where the file says nothing of it.
    price: Price | None = None

    def apply(self, model: Model) -> Model:
        return replace(
            model,
            name=self.name or model.name,
            retired_on=self.retired_on or model.retired_on,
            capabilities=replace(model.capabilities, **self.capabilities),
        )


class _Fault(Exception):
    """What is wrong with one value, without its place in the file."""


def read_corrections(path: Path) -> Iterator[Correction]:
    """Every entry of the file. Raises SettingsError that names the file and the entry at fault."""
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        reason = error.strerror or "unknown error"
        raise SettingsError(f"DARKROOM_MODEL_CATALOG: cannot read {path}: {reason}.") from error
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"DARKROOM_MODEL_CATALOG: {path} is not JSON: {error}.") from error

    place = "the file"
    try:
        for engine, models in _entries(content):
            place = engine
            for model_id, values in _entries(models):
                place = f"{engine}.{model_id}"
                yield _read_entry(engine, model_id, values)
    except _Fault as fault:
        raise SettingsError(f"DARKROOM_MODEL_CATALOG: {path}: {place}: {fault}.") from fault


def _read_entry(engine: str, model_id: str, values: Any) -> Correction:
    own: dict[str, Any] = {}
    capabilities: dict[str, Any] = {}
    for key, value in _entries(values):
        if model_id == ANY_MODEL and key != "price":
            raise _Fault(f"`{ANY_MODEL}` takes a `price` and nothing else")
        match key:
            case "name":
                own[key] = _words([value], key)[0]
            case "retired_on":
                own[key] = _day(value)
            case "price":
                own[key] = _price(value)
            case "sizes":
                capabilities[key] = _sizes(value)
            case _ if key in CAPABILITIES:
                capabilities[key] = _capability(key, value)
            case _:
                known = ", ".join(sorted({"name", "retired_on", "price"} | CAPABILITIES))
                raise _Fault(f"`{key}` is not a field; there are {known}")
    return Correction(engine=engine, model_id=model_id, capabilities=capabilities, **own)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise _Fault("must be an object")
    yield from value.items()


def _capability(key: str, value: Any) -> Any:
    if key in FLAGS:
        if not isinstance(value, bool):
            raise _Fault(f"`{key}` must be true or false")
        return value
    if key in WORD_LISTS:
        return _words(value, key)
    if key == "mask":
        if value not in list(MaskSupport):
            raise _Fault(f"`mask` must be one of {', '.join(MaskSupport)}")
        return MaskSupport(value)
    if key == "max_steps" and value is None:
        return None
    return _number(key, value)


def _number(key: str, value: Any) -> int:
    least = 0 if key in MAY_BE_ZERO else 1
    if type(value) is not int or value < least:
        raise _Fault(f"`{key}` must be a whole number of at least {least}")
    return value


def _words(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise _Fault(f"`{key}` must be text, or a list of text where there are several")
    return tuple(value)


def _price(value: Any) -> Price:
    try:
        return read_price(value)
    except PriceFault as fault:
        raise _Fault(f"`price`{fault}") from fault


def _day(value: Any) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise _Fault("`retired_on` must be a day such as 2026-05-12") from None


def _sizes(value: Any) -> tuple[Size, ...] | FreeSizes:
    if isinstance(value, dict):
        return _free_sizes(value)
    try:
        sizes = tuple(Size.parse(each) for each in _words(value, "sizes"))
    except ValueError as error:
        raise _Fault(f"`sizes`: {error}") from error
    if not sizes:
        raise _Fault("`sizes` must name at least one size")
    return sizes


def _free_sizes(limits: Mapping[str, Any]) -> FreeSizes:
    unknown = sorted(limits.keys() - SIZE_LIMITS)
    if unknown:
        raise _Fault(f"`sizes` has no `{unknown[0]}`; it has {', '.join(sorted(SIZE_LIMITS))}")
    sizes = FreeSizes(**{key: _size_limit(key, value) for key, value in limits.items()})
    if not is_drawable(nearest_size(Size(1024, 1024), sizes), sizes):
        raise _Fault("`sizes` has limits that contradict each other: no size obeys them all")
    return sizes


def _size_limit(key: str, value: Any) -> Any:
    if key == "max_aspect":
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 1:
            raise _Fault("`max_aspect` must be a number of at least 1")
        return float(value)
    return _number(key, value)
