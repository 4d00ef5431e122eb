"""What vendors charge by their price lists, in US dollars.

This is data, and vendors change it: an admin overrides it with `price` in the model catalog. Models
that are not here, and what of a model nobody documented, have no known price.
"""

from collections.abc import Mapping
from decimal import Decimal

from darkroom.domain import Size
from engines.gemini_sizes import (
    GEMINI_2_5_AT_1K,
    GEMINI_3_1_AT_1K,
    GEMINI_3_AT_1K,
    sizes_at,
)
from engines.prices import ImageRate, Price, TokenRates

#: When the lists were read last, and the currency they are in.
AS_OF = "2026-11-23"
CURRENCY = "USD"

SQUARE = Size(1024, 1024)


def _rates(text: str, image: str, output: str, output_text: str | None = None) -> TokenRates:
    return TokenRates(
        input_text=Decimal(text),
        input_image=Decimal(image),
        output=Decimal(output),
        output_text=None if output_text is None else Decimal(output_text),
    )


def _by_tokens(rates: TokenRates, table: Mapping[str, Mapping[str, int]]) -> Price:
    """The price of a model whose pictures have so many tokens, by quality and size."""
    return Price(
        tokens=rates,
        images=tuple(
            ImageRate(
                size=Size.parse(size),
                quality=quality,
                tokens=tokens,
                cost=tokens * rates.output / 1_000_000,
            )
            for quality, sizes in table.items()
            for size, tokens in sizes.items()
        ),
    )


def _per_picture(cost: str) -> Price:
    return Price(images=(ImageRate(cost=Decimal(cost)),))


def _per_size(table: Mapping[str, Mapping[str, str]]) -> Price:
    return Price(
        default_size=SQUARE,
        default_quality="standard",
        images=tuple(
            ImageRate(size=Size.parse(size), quality=quality, cost=Decimal(cost))
            for quality, sizes in table.items()
            for size, cost in sizes.items()
        ),
    )


def _by_resolution(rates: TokenRates, at_1k: str, tokens: Mapping[str, int]) -> Price:
    """The price of a Google model, whose pictures of one resolution all have as many tokens."""
    return Price(
        tokens=rates,
        default_size=SQUARE,
        images=tuple(
            ImageRate(size=size, tokens=count, cost=count * rates.output / 1_000_000)
            for resolution, count in tokens.items()
            for size in sizes_at(at_1k, resolution)
        ),
    )


#: Tokens of one picture of OpenAI's first GPT models.
GPT_IMAGE_1_TOKENS = {
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1056, "1024x1536": 1584, "1536x1024": 1568},
    "high": {"1024x1024": 4160, "1024x1536": 6240, "1536x1024": 6208},
}

#: How many patches the longer edge of a picture has, by quality.
GPT_IMAGE_2_PATCHES = {"low": 16, "medium": 48, "high": 96}


def gpt_image_2_tokens(size: Size, quality: str) -> int | None:
    """Tokens of one picture of GPT Image 2, as OpenAI's own calculator counts them."""
    patches = GPT_IMAGE_2_PATCHES.get(quality)
    if patches is None:
        return None
    longer, shorter = max(size.width, size.height), min(size.width, size.height)
    across = (2 * patches * shorter + longer) // (2 * longer)
    return -(-patches * across * (2_000_000 + size.pixels) // 4_000_000)


GPT_IMAGE_2 = Price(
    tokens=_rates("5", "8", "30"),
    output_tokens=gpt_image_2_tokens,
    qualities=tuple(GPT_IMAGE_2_PATCHES),
    # The dearest of the sizes it chooses among.
    default_size=SQUARE,
)

#: The tokens are charged as those of 2, but nobody documented how many a picture has.
GPT_IMAGE_2_5 = Price(tokens=_rates("5", "8", "30"))

IMAGEN_ULTRA, IMAGEN, IMAGEN_FAST = (_per_picture(each) for each in ("0.06", "0.04", "0.02"))

PRICES: Mapping[tuple[str, str], Price] = {
    ("openai", "gpt-image-2"): GPT_IMAGE_2,
    ("openai", "gpt-image-2-2026-04-21"): GPT_IMAGE_2,
    ("openai", "gpt-image-2.5-sunburst"): GPT_IMAGE_2_5,
    ("openai", "gpt-image-2.5-sunburst-2026-09-08"): GPT_IMAGE_2_5,
    ("openai", "gpt-image-2.5-flare"): GPT_IMAGE_2_5,
    ("openai", "gpt-image-2.5-flare-2026-09-08"): GPT_IMAGE_2_5,
    ("openai", "gpt-image-2.6-sunburst"): GPT_IMAGE_2_5,
    ("openai", "gpt-image-1.5"): _by_tokens(_rates("5", "8", "32"), GPT_IMAGE_1_TOKENS),
    ("openai", "gpt-image-1"): _by_tokens(_rates("5", "10", "40"), GPT_IMAGE_1_TOKENS),
    ("openai", "gpt-image-1-mini"): Price(
        tokens=_rates("2", "2.5", "8"),
        images=_per_size(
            {
                "low": {"1024x1024": "0.005", "1024x1536": "0.006", "1536x1024": "0.006"},
                "medium": {"1024x1024": "0.011", "1024x1536": "0.015", "1536x1024": "0.015"},
                "high": {"1024x1024": "0.036", "1024x1536": "0.052", "1536x1024": "0.052"},
            }
        ).images,
    ),
    ("openai", "dall-e-3"): _per_size(
        {
            "standard": {"1024x1024": "0.04", "1792x1024": "0.08", "1024x1792": "0.08"},
            "hd": {"1024x1024": "0.08", "1792x1024": "0.12", "1024x1792": "0.12"},
        }
    ),
    ("openai", "dall-e-2"): _per_size(
        {"standard": {"1024x1024": "0.02", "512x512": "0.018", "256x256": "0.016"}}
    ),
    ("gemini", "gemini-3-pro-image"): _by_resolution(
        _rates("2", "2", "120", "12"), GEMINI_3_AT_1K, {"1K": 1120, "2K": 1120, "4K": 2000}
    ),
    ("gemini", "gemini-3.1-flash-image"): _by_resolution(
        _rates("0.5", "0.5", "60", "3"),
        GEMINI_3_1_AT_1K,
        {"512": 747, "1K": 1120, "2K": 1680, "4K": 2520},
    ),
    # What it costs beyond 1K, nobody documented.
    ("gemini", "gemini-nano-banana-2.1"): _by_resolution(
        _rates("1.5", "1.5", "30", "7.5"), GEMINI_3_1_AT_1K, {"1K": 1120}
    ),
    ("gemini", "gemini-3.1-flash-lite-image"): _per_picture("0.0336"),
    ("gemini", "gemini-2.5-flash-image"): _by_resolution(
        _rates("0.3", "0.3", "30", "2.5"), GEMINI_2_5_AT_1K, {"1K": 1290}
    ),
    ("gemini", "imagen-4.0-ultra-generate-001"): IMAGEN_ULTRA,
    ("gemini", "imagen-4.0-generate-001"): IMAGEN,
    ("gemini", "imagen-4.0-fast-generate-001"): IMAGEN_FAST,
    ("gemini", "imagen-3.0-generate-002"): _per_picture("0.03"),
}
