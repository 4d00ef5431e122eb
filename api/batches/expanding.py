"""Expanding: one item with lists of values becomes one item for each combination of them."""

from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

from marshmallow import ValidationError

from darkroom.domain import MAX_SEED

#: The most items of one batch, expanded ones counted each.
MOST_ITEMS = 50_000

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
        combined = {**body, **dict(zip(matrix, values, strict=True))}
        yield f"{custom_id}/{number}", {k: v for k, v in combined.items() if v is not None}


def read_matrix(value: Any) -> dict[str, Any]:
    """`{"field": [value, …], "seed": {"count": 4, "start": 1}}` as lists, or ranges of seeds.

    Raises ValidationError that names the field.
    """
    if not isinstance(value, dict):
        raise ValidationError('It must be an object of lists, such as {"seed": [1, 2]}.')
    matrix = {name: _values(name, values) for name, values in value.items()}
    # Told before anything is made of it: a few words may stand for more than memory holds.
    if prod(len(values) for values in matrix.values()) > MOST_ITEMS:
        raise ValidationError(f"It makes more than {MOST_ITEMS:,} items of one.")
    return matrix


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
    if type(count) is not int or type(start) is not int or set(asked) - {"count", "start"}:
        raise ValidationError({"seed": ['It must be a list, or {"count": 4} and perhaps "start".']})
    if not 1 <= count <= MAX_SEED or not 0 <= start <= MAX_SEED - count + 1:
        raise ValidationError({"seed": [f"Seeds go from 0 to {MAX_SEED}, and at least one."]})
    return range(start, start + count)
