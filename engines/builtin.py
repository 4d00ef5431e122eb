"""The built-in engine: a labelled placeholder, at once, with no key, no GPU and no model.

It makes the first run work. With latency and scripted faults it stands in for real engines in load
tests and rehearsals.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Event
from typing import ClassVar

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, ImageRequest, Progress, Size
from darkroom.errors import EngineFailed
from engines.base import Engine, Task
from engines.catalog import Catalog
from engines.script import Script

DEFAULT_SIZE = Size(1024, 1024)
#: How often a slow picture reports, in seconds.
TICK_S = 0.1


class BuiltinEngine(Engine):
    """Draws placeholders. Options: `enabled`, `latency_s` (per picture), `script`."""

    paid: ClassVar[bool] = False
    takes_unlisted: ClassVar[bool] = False

    def __init__(self, config: EngineConfig, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        if not config.options.get("enabled", True):
            self.missing = (
                f"Engine {config.name!r} is switched off: set DARKROOM_ENABLE_BUILTIN=true."
            )
        self.latency_s = float(config.options.get("latency_s") or 0.0)
        self.is_scripted = bool(config.options.get("script"))

    def check(self) -> str:
        return "The built-in placeholder engine is ready."

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        """Draw at once, or in `latency_s` per picture; picture k uses the seed plus k."""
        script = Script(prompt=task.request.prompt)
        if self.is_scripted:
            script = Script.parse(task.request.prompt)
        request = replace(task.request, prompt=script.prompt)
        latency_s = self.latency_s if script.latency_s is None else script.latency_s
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        deadline = time.monotonic() + task.timeout_s

        progress(0.0)
        images = []
        for position in range(request.count):
            report = partial(_report, progress, position, request.count)
            _take_time(latency_s, deadline, report)
            script.act_out(task.attempt)
            images.append(_draw(request, seed + position))
            report(1.0)
        return images


def _report(progress: Progress, position: int, count: int, share: float) -> None:
    """Say how much of all pictures is done when `share` of one of them is."""
    progress((position + share) / count)


def _take_time(latency_s: float, deadline: float, report: Callable[[float], None]) -> None:
    started = time.monotonic()
    pause = Event()
    while (spent := time.monotonic() - started) < latency_s:
        report(spent / latency_s)
        if time.monotonic() >= deadline:
            raise EngineFailed("The built-in engine did not finish in time: allow it more.")
        pause.wait(min(TICK_S, latency_s - spent))


def _draw(request: ImageRequest, seed: int) -> GeneratedImage:
    # Pillow loads here, in the worker, and not where engines are only listed.
    from engines.placeholder import Drawing, draw

    size = request.size or DEFAULT_SIZE
    notes = [str(size), f"seed {seed}"]
    if request.steps is not None:
        notes.append(f"{request.steps} steps")
    if request.negative_prompt is not None:
        notes.append(f"without {request.negative_prompt}")
    data = draw(
        Drawing(
            prompt=request.prompt,
            seed=seed,
            size=size,
            notes=tuple(notes),
            output_format=request.output_format or "png",
            transparent=request.background == "transparent",
        )
    )
    return GeneratedImage(data=data, seed=seed)
