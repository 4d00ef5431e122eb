"""The built-in engine: a labelled placeholder, at once, with no key, no GPU and no model.

An edit is a placeholder over the first picture: it shines through, and stays as it is where a mask
says so.

It makes the first run work. With latency, scripted faults and a ledger of its calls it stands in
for real engines in load tests and rehearsals.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import ClassVar

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, Operation, Progress, Size
from darkroom.errors import EngineFailed
from engines.base import Engine, Task
from engines.catalog import Catalog
from engines.ledger import Ledger, Run
from engines.script import Script
from engines.sizes import nearest_size

DEFAULT_SIZE = Size(1024, 1024)
#: How often a slow picture reports, in seconds.
TICK_S = 0.1
#: The latency from which on a picture shows a preview, in seconds.
WATCHED_FROM_S = 1.0


class BuiltinEngine(Engine):
    """Draws placeholders. Options: `enabled`, `latency_s` (per picture), `script`, `ledger`
    (folder).
    """

    paid: ClassVar[bool] = False
    operations: ClassVar[frozenset[Operation]] = frozenset(Operation)
    resumes: ClassVar[bool] = True
    takes_unlisted: ClassVar[bool] = False

    def __init__(self, config: EngineConfig, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        if not config.options.get("enabled", True):
            self.missing = (
                f"Engine {config.name!r} is switched off: set DARKROOM_ENABLE_BUILTIN=true."
            )
        self.latency_s = float(config.options.get("latency_s") or 0.0)
        self.is_scripted = bool(config.options.get("script"))
        folder = config.options.get("ledger")
        self._ledger = Ledger(Path(folder)) if folder else None

    def check(self) -> str:
        return "The built-in placeholder engine is ready."

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        """Draw at once, or in `latency_s` per picture; picture k uses the seed plus k.

        Without a size, an edit is as large as the first picture to change, within the model's
        limits. A run that the ledger holds is gone on with where its prompt says `[resume]`.
        """
        script = Script(prompt=task.request.prompt)
        if self.is_scripted:
            script = Script.parse(task.request.prompt)
        request = replace(task.request, prompt=script.prompt)
        latency_s = self.latency_s if script.latency_s is None else script.latency_s
        deadline = time.monotonic() + task.timeout_s

        progress(0.0)
        run = self._resumed(task, script) or self._begun(task, latency_s)
        if self._ledger is not None:
            progress(upstream_id=run.id)
        clock = _Clock(latency_s, since=run.started_at, deadline=deadline)
        draw = partial(_draw, replace(task, request=request), self._size(task))
        images = []
        for position in range(request.count):
            report = partial(_report, progress, position, request.count)
            half_done = partial(progress, (position + 0.5) / request.count)
            clock.run(
                position,
                report,
                halfway=partial(_show, draw, run.seed + position, half_done),
            )
            script.act_out(task.attempt)
            images.append(draw(run.seed + position))
            report(1.0)
        return images

    def _size(self, task: Task) -> Size:
        if task.request.size is not None or not task.images:
            return task.request.size or DEFAULT_SIZE
        capabilities = self.catalog.model(self.config.name, task.model).capabilities
        return nearest_size(task.images[0].size, capabilities.sizes)

    def _resumed(self, task: Task, script: Script) -> Run | None:
        if self._ledger is None or task.upstream_id is None or not script.resumes:
            return None
        return self._ledger.find(task.upstream_id)

    def _begun(self, task: Task, latency_s: float) -> Run:
        seed = task.request.seed
        run = Run.begin(
            job_id=task.job_id,
            attempt=task.attempt,
            seed=secrets.randbelow(2**32) if seed is None else seed,
            takes_s=latency_s * task.request.count,
        )
        if self._ledger is not None:
            self._ledger.enter(run)
        return run


def _show(draw: Callable[..., GeneratedImage], seed: int, report: Callable[..., None]) -> None:
    """Show a small one of the picture that is being drawn."""
    report(preview=draw(seed, reduction=4).data)


def _report(progress: Progress, position: int, count: int, share: float) -> None:
    """Say how much of all pictures is done when `share` of one of them is."""
    progress((position + share) / count)


class _Clock:
    """Makes the pictures of a run take their time, counted from when the run began."""

    def __init__(self, latency_s: float, *, since: float, deadline: float) -> None:
        self._latency_s = latency_s
        # The run may have begun in another process, which had a monotonic clock of its own.
        self._started = time.monotonic() - (time.time() - since)
        self._deadline = deadline

    def run(
        self, position: int, report: Callable[[float], None], halfway: Callable[[], None]
    ) -> None:
        """Return when the picture at `position` is due. Raises EngineFailed at the deadline.

        `halfway` is called once, for pictures slow enough that somebody may watch.
        """
        started = self._started + position * self._latency_s
        pause = Event()
        is_watched = self._latency_s >= WATCHED_FROM_S
        while (spent := time.monotonic() - started) < self._latency_s:
            if is_watched and spent >= self._latency_s / 2:
                is_watched = False
                halfway()
            report(max(spent, 0.0) / self._latency_s)
            if time.monotonic() >= self._deadline:
                raise EngineFailed("The built-in engine did not finish in time: allow it more.")
            pause.wait(min(TICK_S, self._latency_s - spent))


def _draw(task: Task, size: Size, seed: int, *, reduction: int = 1) -> GeneratedImage:
    """One picture, each edge divided by `reduction` where that leaves 64 pixels or more."""
    # Pillow loads here, in the worker, and not where engines are only listed.
    from engines.placeholder import Drawing, draw

    request = task.request
    if reduction > 1:
        size = Size(*(max(edge // reduction, min(edge, 64)) for edge in (size.width, size.height)))
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
            original=task.images[0].data if task.images else None,
            mask=task.mask,
        )
    )
    return GeneratedImage(data=data, seed=seed)
