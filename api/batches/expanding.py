"""Expanding: one item with lists of values becomes one item for each combination of them."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from marshmallow import ValidationError

from darkroom.domain import MAX_SEED

#: What belongs to an item and not to the request it makes.
OF_ITEMS = frozenset({"custom_id", "expand", "metadata"})


def expanded(
    body: Mapping[str, Any], custom_id: str, matrix: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every item that one makes, with its `custom_id`; itself when there is nothing to expand."""
    if not matrix:
        yield custom_id, dict(body)
        return
    for number, values in enumerate(product(*matrix.values()), start=1):
        yield f"{custom_id}/{number}", {**body, **dict(zip(matrix, values, strict=True))}


def read_matrix(value: Any) -> dict[str, Any]:
    """`{"field": [value, …], "seed": {"count": 4, "start": 1}}` as lists, or ranges of seeds.

    Raises ValidationError that names the field.
    """
    if not isinstance(value, dict):
        raise ValidationError('It must be an object of lists, such as {"seed": [1, 2]}.')
    return {name: _values(name, values) for name, values in value.items()}


def _values(name: str, values: Any) -> Any:
    if name in OF_ITEMS:
        raise ValidationError({name: ["It cannot be expanded."]})
    if name == "seed" and isinstance(values, dict):
        return _seeds(values)
    if not isinstance(values, list) or not values:
        raise ValidationError({name: ["It must be a list of at least one value."]})
    return values


def _seeds(asked: Mapping[str, Any]) -> range:
    count, start = asked.get("count"), asked.get("start", 1)
    if not isinstance(count, int) or not isinstance(start, int) or set(asked) - {"count", "start"}:
        raise ValidationError({"seed": ['It must be a list, or {"count": 4} and perhaps "start".']})
    if count < 1 or start < 0 or start + count - 1 > MAX_SEED:
        raise ValidationError({"seed": [f"Seeds go from 0 to {MAX_SEED}, and at least one."]})
    return range(start, start + count)
