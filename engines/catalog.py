"""What each known model can do.

This is data, and vendors change it: an admin adds or corrects models with a file (`Catalog.load`),
and a model that nobody described passes through with all that its engine can do at most.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from darkroom.domain import Capabilities, FreeSizes, MaskSupport, Model, Size
from engines.catalog_file import ANY_MODEL, Correction, read_corrections
from engines.gemini_sizes import (
    GEMINI_2_5_AT_1K,
    GEMINI_3_1_AT_1K,
    GEMINI_3_AT_1K,
    IMAGEN_AT_1K,
    sizes_at,
)
from engines.price_list import CURRENCY, PRICES
from engines.prices import Price


def _sizes(text: str) -> tuple[Size, ...]:
    return tuple(Size.parse(each) for each in text.split())


PLACEHOLDER = Capabilities(
    sizes=FreeSizes(min_edge=64, max_edge=4096),
    negative_prompt=True,
    seed=True,
    max_steps=150,
    output_formats=("png", "jpeg", "webp"),
    backgrounds=("auto", "opaque", "transparent"),
    max_input_images=16,
    mask=MaskSupport.EXACT,
)

DALL_E_2 = Capabilities(
    sizes=_sizes("1024x1024 512x512 256x256"),
    max_prompt_chars=1000,
    qualities=("standard",),
    max_input_images=1,
    mask=MaskSupport.EXACT,
)

#: The vendor draws one picture per call; the driver calls as often as pictures are asked for.
DALL_E_3 = Capabilities(
    sizes=_sizes("1024x1024 1792x1024 1024x1792"),
    max_prompt_chars=4000,
    qualities=("standard", "hd"),
)

#: These see the mask, and are not bound to its edges.
GPT_IMAGE_1 = Capabilities(
    sizes=_sizes("1024x1024 1536x1024 1024x1536"),
    qualities=("auto", "low", "medium", "high"),
    output_formats=("png", "jpeg", "webp"),
    backgrounds=("auto", "opaque", "transparent"),
    max_input_images=16,
    mask=MaskSupport.APPROXIMATE,
    max_partial_images=3,
)

GPT_IMAGE_2 = replace(
    GPT_IMAGE_1,
    sizes=FreeSizes(
        multiple=16,
        min_edge=16,
        max_edge=3840,
        min_pixels=655_360,
        max_pixels=8_294_400,
        max_aspect=3.0,
    ),
)

#: It also draws gif and svg, which are left out: they are no still pictures made of pixels.
GPT_IMAGE_2_5 = replace(GPT_IMAGE_2, qualities=(*GPT_IMAGE_2.qualities, "xhigh", "max"))

#: What a server that speaks OpenAI's API may be able to do, whatever its models are called.
ANY_OPENAI = Capabilities(
    qualities=("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"),
    output_formats=("png", "jpeg", "webp"),
    backgrounds=("auto", "opaque", "transparent"),
    max_input_images=16,
    mask=MaskSupport.APPROXIMATE,
    max_partial_images=3,
)

#: Google takes seeds as signed 32-bit numbers, and promises nothing for them.
GEMINI_2_5 = Capabilities(
    sizes=sizes_at(GEMINI_2_5_AT_1K, "1K"),
    seed=True,
    max_seed=2**31 - 1,
    max_input_images=3,
    mask=MaskSupport.APPROXIMATE,
)

GEMINI_3_PRO = replace(
    GEMINI_2_5, sizes=sizes_at(GEMINI_3_AT_1K, "1K", "2K", "4K"), max_input_images=14
)

GEMINI_3_1_FLASH = replace(GEMINI_3_PRO, sizes=sizes_at(GEMINI_3_1_AT_1K, "1K", "2K", "4K", "512"))

#: Nobody documented which other resolutions it draws.
GEMINI_3_1_FLASH_LITE = replace(GEMINI_3_PRO, sizes=sizes_at(GEMINI_3_1_AT_1K, "1K"))

NANO_BANANA_2_1 = replace(GEMINI_3_PRO, sizes=sizes_at(GEMINI_3_1_AT_1K, "1K", "2K", "4K"))

IMAGEN = Capabilities(
    sizes=sizes_at(IMAGEN_AT_1K, "1K", "2K"),
    output_formats=("png", "jpeg"),
)

IMAGEN_FAST = replace(IMAGEN, sizes=sizes_at(IMAGEN_AT_1K, "1K"))

#: What an AUTOMATIC1111 or Forge server does with any checkpoint. Picture k of a request uses the
#: seed plus k, and the last of ten must still be a seed of 32 bits.
ANY_AUTOMATIC1111 = Capabilities(
    sizes=FreeSizes(multiple=8, min_edge=64, max_edge=2048),
    negative_prompt=True,
    seed=True,
    max_seed=2**32 - 10,
    max_steps=150,
    max_input_images=1,
    mask=MaskSupport.EXACT,
)

UNLISTED: Mapping[str, Capabilities] = {
    "openai": ANY_OPENAI,
    "gemini": GEMINI_3_PRO,
    "automatic1111": ANY_AUTOMATIC1111,
}


def _openai(
    model_id: str, name: str, capabilities: Capabilities, retired_on: str | None = None
) -> Model:
    return Model(
        id=model_id, name=name, engine="openai", capabilities=capabilities, retired_on=retired_on
    )


def _google(
    model_id: str, name: str, capabilities: Capabilities, retired_on: str | None = None
) -> Model:
    return Model(
        id=model_id, name=name, engine="gemini", capabilities=capabilities, retired_on=retired_on
    )


#: Best first: an engine's first model is its default.
KNOWN: tuple[Model, ...] = (
    Model(
        id="placeholder",
        name="Placeholder (not an AI model)",
        engine="builtin",
        capabilities=PLACEHOLDER,
    ),
    _openai("gpt-image-2", "GPT Image 2", GPT_IMAGE_2),
    _openai("gpt-image-2-2026-04-21", "GPT Image 2 (2026-04-21)", GPT_IMAGE_2),
    # Nobody documented which qualities 2.6 takes; those of 2 are sure.
    _openai("gpt-image-2.6-sunburst", "GPT Image 2.6 Sunburst", GPT_IMAGE_2),
    _openai("gpt-image-2.6-flare", "GPT Image 2.6 Flare", GPT_IMAGE_2),
    _openai("gpt-image-2.5-sunburst", "GPT Image 2.5 Sunburst", GPT_IMAGE_2_5),
    _openai(
        "gpt-image-2.5-sunburst-2026-09-08", "GPT Image 2.5 Sunburst (2026-09-08)", GPT_IMAGE_2_5
    ),
    _openai("gpt-image-2.5-flare", "GPT Image 2.5 Flare", GPT_IMAGE_2_5),
    _openai("gpt-image-2.5-flare-2026-09-08", "GPT Image 2.5 Flare (2026-09-08)", GPT_IMAGE_2_5),
    _openai("gpt-image-1.5", "GPT Image 1.5", GPT_IMAGE_1),
    _openai("gpt-image-1-mini", "GPT Image 1 mini", GPT_IMAGE_1),
    # An alias that moves on; every GPT model draws the sizes of the first.
    _openai("chatgpt-image-latest", "ChatGPT Image (latest)", GPT_IMAGE_1),
    _openai("gpt-image-1", "GPT Image 1", GPT_IMAGE_1, "2026-10-23"),
    _openai("dall-e-3", "DALL·E 3", DALL_E_3, "2026-05-12"),
    _openai("dall-e-2", "DALL·E 2", DALL_E_2, "2026-05-12"),
    _google("gemini-3-pro-image", "Gemini 3 Pro Image", GEMINI_3_PRO),
    _google("gemini-nano-banana-2.1", "Nano Banana 2.1", NANO_BANANA_2_1),
    _google("gemini-3.1-flash-image", "Gemini 3.1 Flash Image", GEMINI_3_1_FLASH),
    _google("gemini-3.1-flash-lite-image", "Gemini 3.1 Flash-Lite Image", GEMINI_3_1_FLASH_LITE),
    _google("gemini-2.5-flash-image", "Gemini 2.5 Flash Image", GEMINI_2_5, "2026-10-02"),
    _google("imagen-4.0-ultra-generate-001", "Imagen 4 Ultra", IMAGEN, "2026-08-17"),
    _google("imagen-4.0-generate-001", "Imagen 4", IMAGEN, "2026-08-17"),
    _google("imagen-4.0-fast-generate-001", "Imagen 4 Fast", IMAGEN_FAST, "2026-08-17"),
    _google("imagen-3.0-generate-002", "Imagen 3", IMAGEN_FAST, "2026-08-17"),
)


class Catalog:
    """The known models of every engine, as an admin corrected them."""

    def __init__(
        self,
        models: Iterable[Model] = KNOWN,
        prices: Mapping[tuple[str, str], Price] = PRICES,
    ) -> None:
        self._engines: dict[str, dict[str, Model]] = {}
        self._prices = dict(prices)
        for each in models:
            self._engines.setdefault(each.engine, {})[each.id] = each

    @classmethod
    def load(cls, path: Path | None = None, *, currency: str = CURRENCY) -> Self:
        """The known models, corrected by the file at `path` when there is one. Prices are known
        of the file alone when the currency is not that of the vendors' lists.

        Raises SettingsError that names the file and the entry at fault.
        """
        catalog = cls(prices=PRICES if currency == CURRENCY else {})
        for each in read_corrections(path) if path else ():
            catalog._correct(each)
        return catalog

    def models(self, engine: str) -> tuple[Model, ...]:
        """The models described for `engine`, best first; those an admin added come last."""
        return tuple(self._engines.get(engine, {}).values())

    def model(self, engine: str, model_id: str) -> Model:
        """What is known of a model; one that nobody described may do all its engine can."""
        described = self._engines.get(engine, {}).get(model_id)
        if described is not None:
            return described
        capabilities = UNLISTED.get(engine, Capabilities())
        return Model(id=model_id, name=model_id, engine=engine, capabilities=capabilities)

    def price(self, engine: str, model_id: str) -> Price | None:
        """What a model costs; None where nobody said."""
        return self._prices.get((engine, model_id)) or self._prices.get((engine, ANY_MODEL))

    def _correct(self, correction: Correction) -> None:
        if correction.price is not None:
            self._prices[correction.engine, correction.model_id] = correction.price
        if correction.model_id == ANY_MODEL:
            return
        before = self.model(correction.engine, correction.model_id)
        after = correction.apply(before)
        self._engines.setdefault(after.engine, {})[after.id] = after
