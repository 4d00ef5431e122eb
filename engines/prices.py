"""What a model costs: before, by size and quality; afterwards, by what was drawn and counted.

Money is counted in millionths of the currency's unit, as whole numbers. A price of one unit for a
million tokens is one millionth for each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from darkroom.domain import ImageRequest, Size, Usage


@dataclass(frozen=True, kw_only=True)
class ImageRate:
    """What one picture costs of some size and quality; None stands for any."""

    size: Size | None = None
    quality: str | None = None
    #: In the currency's unit.
    cost: Decimal
    #: How many output tokens that is, where they are what is charged.
    tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class TokenRates:
    """What a million tokens cost, in the currency's unit."""

    input_text: Decimal
    input_image: Decimal
    output: Decimal
    #: What the output costs that is no picture, such as what a model thinks; None where there is
    #: none, or it costs the same.
    output_text: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a model costs. Nothing is known where all is empty."""

    images: Sequence[ImageRate] = ()
    tokens: TokenRates | None = None
    #: The output tokens of one picture of a size and quality, for models that draw any size.
    output_tokens: Callable[[Size, str], int | None] | None = None
    #: The qualities that `output_tokens` knows, the dearest last.
    qualities: tuple[str, ...] = ()
    #: What is drawn where a request leaves the choice; None where the model chooses among all.
    default_size: Size | None = None
    default_quality: str | None = None

    def estimate(self, request: ImageRequest) -> int | None:
        """What the pictures will cost at most, in millionths; None where nobody knows.

        What the model chooses itself is taken at its dearest. Tokens of the prompt and of input
        pictures are not in it.
        """
        rate = self._rate(request)
        return None if rate is None else _counted(request.count * rate.cost)

    def settle(self, request: ImageRequest, drawn: int, usage: Usage | None) -> int | None:
        """What so many pictures did cost, in millionths; None where nobody knows."""
        rate = self._rate(request)
        if usage is not None and self.tokens is not None:
            return _counted(self._of_tokens(usage, drawn, rate, self.tokens))
        return None if rate is None else _counted(drawn * rate.cost)

    def _of_tokens(
        self, usage: Usage, drawn: int, rate: ImageRate | None, rates: TokenRates
    ) -> Decimal:
        text = usage.input_tokens - usage.input_image_tokens
        cost = text * rates.input_text + usage.input_image_tokens * rates.input_image
        thought = 0
        if rates.output_text is not None and rate is not None and rate.tokens:
            thought = max(0, usage.output_tokens - drawn * rate.tokens)
            cost += thought * rates.output_text
        return (cost + (usage.output_tokens - thought) * rates.output) / 1_000_000

    def _rate(self, request: ImageRequest) -> ImageRate | None:
        if self.output_tokens is not None and self.tokens is not None:
            return self._computed_rate(request, self.output_tokens, self.tokens)
        quality = self._quality(request)
        fitting = [each for each in self.images if each.quality in (None, quality) or not quality]
        size = request.size or self.default_size
        if size is not None:
            fitting = _of_size(fitting, size)
        exact = [each for each in fitting if each.quality is not None and each.quality == quality]
        return max(exact or fitting, key=lambda each: each.cost, default=None)

    def _computed_rate(
        self,
        request: ImageRequest,
        output_tokens: Callable[[Size, str], int | None],
        rates: TokenRates,
    ) -> ImageRate | None:
        size = request.size or self.default_size
        quality = self._quality(request) or self.qualities[-1]
        tokens = output_tokens(size, quality) if size is not None else None
        if tokens is None:
            return None
        return ImageRate(cost=tokens * rates.output / 1_000_000, tokens=tokens)

    def _quality(self, request: ImageRequest) -> str | None:
        """None where the model chooses."""
        asked = self.default_quality if request.quality is None else request.quality
        return None if asked == "auto" else asked


#: What an engine costs that charges nothing.
FREE = Price(images=(ImageRate(cost=Decimal(0)),))


def _of_size(rates: Sequence[ImageRate], size: Size) -> list[ImageRate]:
    """Those for exactly this size; or for any; or for the next larger one that is listed."""
    exact = [each for each in rates if each.size == size]
    if exact:
        return exact
    anything = [each for each in rates if each.size is None]
    if anything:
        return anything
    larger = [each for each in rates if each.size is not None and each.size.pixels >= size.pixels]
    nearest = min((each.size.pixels for each in larger if each.size), default=0)
    return [each for each in larger if each.size and each.size.pixels == nearest]


def _counted(cost: Decimal) -> int:
    return int((cost * 1_000_000).quantize(Decimal(1), rounding=ROUND_HALF_UP))
