"""The nearest size that a model draws."""

from collections.abc import Iterable, Sequence
from itertools import product
from math import ceil, log, sqrt

from darkroom.domain import FreeSizes, Size

#: A picture with this share of the pixels asked for is large enough: its edges are a fifth shorter.
ENOUGH = 0.64


def nearest_size(size: Size, sizes: Sequence[Size] | FreeSizes) -> Size:
    """`size` itself where it can be drawn, else the size that looks most like it.

    Among fixed sizes that is the one of the nearest shape, and of those the smallest that is not
    much smaller than asked, or else the largest. Free sizes keep the shape as far as they may and
    change the area as little as they must.
    """
    if isinstance(sizes, FreeSizes):
        return size if is_drawable(size, sizes) else _nearest_free(size, sizes)
    if size in sizes:
        return size

    def rank(each: Size) -> tuple[float, bool, int]:
        is_small = each.pixels < size.pixels * ENOUGH
        return round(_stretch(size, each), 9), is_small, -each.pixels if is_small else each.pixels

    return min(sizes, key=rank)


def is_drawable(size: Size, rule: FreeSizes) -> bool:
    """Whether `size` obeys every limit of `rule`."""
    shorter, longer = sorted((size.width, size.height))
    return (
        size.width % rule.multiple == 0
        and size.height % rule.multiple == 0
        and rule.min_edge <= shorter
        and longer <= rule.max_edge
        and rule.min_pixels <= size.pixels <= rule.max_pixels
        and longer <= shorter * rule.max_aspect
    )


def _nearest_free(size: Size, rule: FreeSizes) -> Size:
    aspect = min(max(size.aspect, 1 / rule.max_aspect), rule.max_aspect)
    width, height = sqrt(size.pixels * aspect), sqrt(size.pixels / aspect)
    scale = _scale(width, height, rule)
    ideal = (width * scale, height * scale)
    candidates = [Size(*edges) for edges in product(*(_edges_near(each, rule) for each in ideal))]
    # Rounding one edge may break a rule that both obey together, so the neighbours compete.
    drawable = [each for each in candidates if is_drawable(each, rule)]

    def distance(each: Size) -> float:
        return abs(log(each.width / ideal[0])) + abs(log(each.height / ideal[1]))

    return min(drawable or candidates, key=distance)


def _scale(width: float, height: float, rule: FreeSizes) -> float:
    """What both edges are multiplied with to come within the limits."""
    shorter, longer = sorted((width, height))
    most = min(rule.max_edge / longer, sqrt(rule.max_pixels / (width * height)))
    least = max(rule.min_edge / shorter, sqrt(rule.min_pixels / (width * height)))
    return min(max(1.0, least), most)


def _edges_near(edge: float, rule: FreeSizes) -> Iterable[int]:
    """The few multiples around `edge` that are within the limits for one edge."""
    lowest, highest = ceil(rule.min_edge / rule.multiple), rule.max_edge // rule.multiple
    middle = min(max(round(edge / rule.multiple), lowest), highest)
    steps = range(max(middle - 3, lowest, 1), min(middle + 3, highest) + 1)
    return [step * rule.multiple for step in steps or (1,)]


def _stretch(one: Size, other: Size) -> float:
    return abs(log(one.aspect) - log(other.aspect))
