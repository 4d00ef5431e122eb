"""Every engine and family of models, ready to draw at its stand-in; and the tables of the docs.

`python -m tests.engines.drivers` writes the tables into `docs/engines.md` anew.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.configuration import EngineConfig
from darkroom.domain import (
    Capabilities,
    FreeSizes,
    ImageRequest,
    MaskSupport,
    Model,
    Operation,
    Size,
)
from engines.automatic1111 import Automatic1111
from engines.base import Engine
from engines.builtin import BuiltinEngine
from engines.catalog import Catalog
from engines.comfyui import ComfyUI
from engines.fitting import fit
from engines.gemini import Gemini
from engines.openai_images import OpenAIImages
from tests.engines.servers.automatic1111 import Automatic1111Server
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.servers.gemini import GeminiServer
from tests.engines.servers.openai import OpenAIServer
from tests.engines.servers.stand_in import StandIn

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models that can do the same, and how to reach one of them."""

    label: str
    engine: type[Engine]
    #: One of them.
    model: str
    #: Its server, given how many seconds it takes for a sampling step where it has any.
    server: Callable[[float], AbstractContextManager[Any]]
    #: The configuration that leads there, and how long a step takes.
    configuration: Callable[[Any, float], dict[str, Any]]
    #: Whether it shows a picture before it is done.
    previews: bool = False
    #: Whether a cancel stops the server's own work, and not only the wait for it.
    stops: bool = False

    @contextmanager
    def ready(self, step_s: float = 0.0) -> Iterator[tuple[Engine, StandIn | None]]:
        """The engine at its server, for as long as the block lasts."""
        with self.server(step_s) as server:
            yield self._made(**self.configuration(server, step_s)), server

    def described(self) -> Model:
        """What is known of the model without asking anyone."""
        model = self._made().model(self.model)
        assert model is not None
        return model

    def _made(self, **parts: Any) -> Engine:
        name = self.engine.__name__.lower().removesuffix("images").removesuffix("engine")
        return self.engine(EngineConfig(name=name, **parts), Catalog())


def _keyed(server: Any, _: float) -> dict[str, Any]:
    return {"base_url": server.url, "api_key": server.key}


def _openai(label: str, model: str, **rest: Any) -> Family:
    return Family(
        label=label,
        engine=OpenAIImages,
        model=model,
        server=lambda _: OpenAIServer(),
        # As OpenAI itself is asked; other servers are not, unless an admin says so.
        configuration=lambda server, step_s: (
            _keyed(server, step_s) | {"options": {"params": {"partial_images": 1}}}
        ),
        **rest,
    )


def _gemini(label: str, model: str) -> Family:
    return Family(
        label=label,
        engine=Gemini,
        model=model,
        server=lambda _: GeminiServer(),
        configuration=_keyed,
    )


FAMILIES = (
    Family(
        label="`builtin/placeholder`",
        engine=BuiltinEngine,
        model="placeholder",
        server=lambda _: nullcontext(),
        configuration=lambda _, step_s: {"options": {"latency_s": 20 * step_s}},
        previews=True,
        stops=True,
    ),
    _openai("`openai/gpt-image-2`, 2.6", "gpt-image-2", previews=True),
    _openai("`openai/gpt-image-2.5-…`", "gpt-image-2.5-flare", previews=True),
    _openai("`openai/gpt-image-1`, 1.5, 1-mini", "gpt-image-1.5", previews=True),
    _openai("`openai/dall-e-3`", "dall-e-3"),
    _openai("`openai/dall-e-2`", "dall-e-2"),
    _gemini("`gemini/gemini-3-pro-image`", "gemini-3-pro-image"),
    _gemini("`gemini/gemini-3.1-flash-…`, nano-banana", "gemini-3.1-flash-image"),
    _gemini("`gemini/gemini-2.5-flash-image`", "gemini-2.5-flash-image"),
    _gemini("`gemini/imagen-4…`", "imagen-4.0-generate-001"),
    Family(
        label="`comfyui/<checkpoint>`, default workflows",
        engine=ComfyUI,
        model="default",
        server=lambda step_s: ComfyUIServer(step_s=step_s),
        configuration=lambda server, _: {"base_url": server.origin},
        previews=True,
        stops=True,
    ),
    Family(
        label="`automatic1111/<checkpoint>`",
        engine=Automatic1111,
        model="default",
        server=lambda step_s: Automatic1111Server(step_s=step_s),
        configuration=lambda server, _: {"base_url": server.url},
        previews=True,
        stops=True,
    ),
)

#: A request that asks for all there is.
EVERYTHING: dict[str, Any] = {
    "size": Size(1000, 1000),
    "count": 20,
    "seed": 7,
    "negative_prompt": "fog",
    "steps": 30,
    "quality": "finest",
    "output_format": "webp",
    "background": "transparent",
    "mask": "a mask",
    "images": ("a picture",),
    "operation": Operation.EDIT,
}


def tables() -> str:
    """The tables of `docs/engines.md`, made of what drivers and the validator really do."""
    return "\n\n".join((_model_table(), _engine_table(), _misfit_table()))


def _model_table() -> str:
    heads = (
        "Models",
        "Pictures it changes",
        "Mask",
        "Sizes",
        "`n`",
        "`seed`",
        "`steps`",
        "`negative_prompt`",
        "`quality`",
        "`output_format`",
        "`background`",
    )
    rows = []
    for family in FAMILIES:
        can = family.described().capabilities
        rows.append(
            (
                family.label,
                f"up to {can.max_input_images}" if can.max_input_images else "none",
                "a hint"
                if can.mask is MaskSupport.APPROXIMATE
                else _yes(can.mask is not MaskSupport.NONE),
                _sizes(can),
                f"1 to {can.max_count}",
                _yes(can.seed),
                f"1 to {can.max_steps}" if can.max_steps else "no",
                _yes(can.negative_prompt),
                *(
                    ", ".join(each) or "no"
                    for each in (can.qualities, can.output_formats, can.backgrounds)
                ),
            )
        )
    return _table(heads, rows)


def _engine_table() -> str:
    heads = (
        "Engine",
        "Costs money",
        "Shows previews",
        "A cancel stops its work",
        "Goes on with a run after a crash",
        "Jobs at once",
    )
    rows = []
    for engine in dict.fromkeys(each.engine for each in FAMILIES):
        own = [each for each in FAMILIES if each.engine is engine]
        rows.append(
            (
                f"`{own[0].described().engine}`",
                _yes(engine.paid),
                _yes(any(each.previews for each in own)),
                _yes(any(each.stops for each in own)),
                _yes(engine.resumes),
                str(engine.max_in_flight or "any"),
            )
        )
    return _table(heads, rows)


def _misfit_table() -> str:
    """What becomes of each parameter, by a model that can do nothing of it."""
    helpless = Model(
        id="it",
        name="it",
        engine="any",
        capabilities=Capabilities(sizes=(Size(1024, 1024),), max_count=10, max_input_images=1),
    )
    warnings = fit(ImageRequest(prompt="a ship", **EVERYTHING), helpless).warnings
    rows = [(f"`{name}`", rest) for name, _, rest in (each.partition(": ") for each in warnings)]
    return _table(("What the model lacks", "What the answer warns of"), sorted(rows))


def _sizes(can: Capabilities) -> str:
    if not isinstance(can.sizes, FreeSizes):
        if len(can.sizes) <= 3:
            return ", ".join(map(str, can.sizes))
        widest = max(can.sizes, key=lambda each: each.pixels)
        return f"{len(can.sizes)} of them, up to {widest}"
    rule = can.sizes
    limits = [f"multiples of {rule.multiple}"] if rule.multiple > 1 else []
    if rule.min_pixels:
        limits.append(f"{rule.min_pixels:,} to {rule.max_pixels:,} pixels")
    else:
        limits.append(f"edges {rule.min_edge} to {rule.max_edge}")
    return ", ".join(limits)


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def written(page: str) -> str:
    """The page with its tables made anew."""
    return re.sub(
        r"(<!-- tables[^>]*-->\n).*(\n<!-- end of tables -->)",
        lambda found: f"{found[1]}{tables()}{found[2]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
