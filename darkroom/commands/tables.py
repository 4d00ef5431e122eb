"""Tables for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines with columns as wide as their widest cell; the last one is not padded."""
    cells = [[("" if each is None else str(each)) for each in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def cost_in_words(cost: Mapping[str, Any] | None, *, is_finished: bool) -> str:
    """What something cost, or will at most; what nobody knows is said to be unknown."""
    if not cost or not cost["is_known"]:
        return "unknown"
    if is_finished:
        return f"{cost['actual']} {cost['currency']}"
    return f"at most {cost['estimated']} {cost['currency']}"


def shortened(text: str, most: int = 60) -> str:
    """One line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
