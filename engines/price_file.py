"""Reads what an admin says a model costs.

`price` is one of

* what a picture costs, whatever it looks like: `0.04`;
* what it costs by size, or by size and quality; `*` stands for any:
  `{"1024x1024": 0.04, "1792x1024": {"standard": 0.08, "hd": 0.12}, "*": 0.2}`;
* the same under `images`, beside what a million tokens cost, for engines that count these:
  `{"images": 0.05, "tokens": {"input_text": 5, "input_image": 8, "output": 30}}`;
* null, for a price that nobody knows.

Amounts are in the currency of `DARKROOM_CURRENCY`, as numbers or as text.
"""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from darkroom.domain import Size
from engines.prices import ImageRate, Price, TokenRates

ANY = "*"
TOKEN_RATES = ("input_text", "input_image", "output")

#: More than anything costs; keeps sums within what a database holds.
MOST = 1_000_000


class PriceFault(Exception):
    """What is wrong with a price, to be put behind the word `price`."""


def read_price(value: Any) -> Price:
    """Raises PriceFault."""
    if value is None:
        return Price()
    if isinstance(value, dict) and value.keys() & {"images", "tokens"}:
        unknown = sorted(value.keys() - {"images", "tokens"})
        if unknown:
            raise PriceFault(f" has no `{unknown[0]}` beside `images` and `tokens`")
        images = tuple(_by_size(value["images"])) if "images" in value else ()
        return Price(images=images, tokens=_tokens(value["tokens"]) if "tokens" in value else None)
    return Price(images=tuple(_by_size(value)))


def _by_size(value: Any) -> Iterator[ImageRate]:
    if not isinstance(value, dict):
        yield ImageRate(cost=_amount(value))
        return
    for name, below in value.items():
        size = _size(name)
        if isinstance(below, dict):
            for quality, cost in below.items():
                yield ImageRate(
                    size=size, quality=None if quality == ANY else quality, cost=_amount(cost)
                )
        else:
            yield ImageRate(size=size, cost=_amount(below))


def _tokens(value: Any) -> TokenRates:
    if not isinstance(value, dict) or set(value) != set(TOKEN_RATES):
        raise PriceFault(f": `tokens` must be an object with {', '.join(TOKEN_RATES)}")
    return TokenRates(**{name: _amount(each) for name, each in value.items()})


def _size(name: str) -> Size | None:
    try:
        return None if name == ANY else Size.parse(name)
    except ValueError as error:
        raise PriceFault(f": {error}, nor `{ANY}`") from error


def _amount(value: Any) -> Decimal:
    try:
        # The text of a number, not what the computer makes of it.
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("nan")
    if isinstance(value, bool) or not amount.is_finite() or not 0 <= amount <= MOST:
        raise PriceFault(f": {value!r} is no amount from 0 to {MOST:,}")
    return amount
