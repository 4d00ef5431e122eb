"""Drawing: the prompts of one job, one after another, and the pictures they leave."""

import logging
import secrets
import time
import uuid
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import Any

from darkroom.domain import MAX_SEED, GeneratedImage, Progress
from darkroom.errors import DeadlineExceeded, EngineError, OutcomeUnknown
from engines import comfyui_outcome as outcome
from engines.base import Task
from engines.comfyui_api import ComfyServer, Tick
from engines.comfyui_mapping import Role
from engines.comfyui_plan import Plan
from engines.comfyui_run import Entry, Run
from engines.comfyui_uploads import upload_pictures
from engines.comfyui_workflow import Nodes, Place

logger = logging.getLogger(__name__)

FREE_TIMEOUT_S = 5.0


class Drawing:
    """One job. It has one upstream id, from which the ids of all its prompts follow."""

    def __init__(
        self,
        server: ComfyServer,
        plan: Plan,
        task: Task,
        progress: Progress,
        *,
        choose_model: Callable[[Tick], str | None],
    ) -> None:
        """`choose_model` gives the file to load, or None for the one in the workflow."""
        self._server = server
        self._plan = plan
        self._task = task
        self._progress = progress
        self._choose_model = choose_model
        self._deadline = time.monotonic() + task.timeout_s
        self._id = task.upstream_id or str(uuid.uuid4())
        self._is_resumed = task.upstream_id is not None
        given = task.request.seed
        self._seed: int | None = secrets.randbelow(MAX_SEED + 1) if given is None else given
        #: What all prompts of the job have in common; known once one must be sent.
        self._values: dict[Place, Any] | None = None

    def pictures(self) -> list[GeneratedImage]:
        """All there are; fewer than asked for when a later prompt failed."""
        calls = 1 if self._plan.nodes[Role.COUNT] else self._task.request.count
        drawn: list[list[GeneratedImage]] = []
        for position in range(calls):
            try:
                drawn.append(self._draw(position, calls))
            except (OutcomeUnknown, DeadlineExceeded):
                # The first will find them all again, and nobody wants the second's.
                raise
            except EngineError as error:
                if not drawn:
                    raise
                logger.warning(
                    "Job %s keeps the pictures of %d of %d prompts: %s",
                    self._task.job_id,
                    position,
                    calls,
                    error.detail,
                )
                break
        # A workflow may save several pictures per prompt; the first of each prompt come first.
        return [each for rank in zip_longest(*drawn) for each in rank if each is not None]

    def _draw(self, position: int, calls: int) -> list[GeneratedImage]:
        prompt_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._id}/{position}"))
        run = Run(
            self._server,
            prompt_id if position else self._id,
            deadline=self._deadline,
            progress=_Part(self._progress, position, calls),
        )
        entry = run.resume(self._plan.nodes.samplers) if self._is_resumed else None
        if entry is None:
            if position == 0 and self._is_resumed:
                # Whatever the earlier attempt queued is lost, and so are its successors.
                self._is_resumed = False
                self._id = run.prompt_id = str(uuid.uuid4())
            run.progress(0.0)
            entry = run.start(self._nodes(position, run), self._plan.nodes.samplers)
        if position == 0:
            self._id = run.prompt_id
        return self._collected(run, entry, position)

    def _nodes(self, position: int, run: Run) -> Nodes:
        if self._values is None:
            self._values = self._common_values(run)
        seed = ((self._seed or 0) + position) % (MAX_SEED + 1)
        values = self._values | self._plan.at(Role.SEED, seed)
        return self._plan.filled(values, run_id=run.prompt_id)

    def _common_values(self, run: Run) -> dict[Place, Any]:
        request, plan = self._task.request, self._plan
        size = request.size
        given = {
            Role.PROMPT: request.prompt,
            Role.NEGATIVE_PROMPT: request.negative_prompt,
            Role.STEPS: request.steps,
            Role.WIDTH: size and size.width,
            Role.HEIGHT: size and size.height,
            Role.COUNT: request.count,
            Role.MODEL: self._choose_model(run.tick),
        }
        values: dict[Place, Any] = {}
        for role, value in given.items():
            if value is not None:
                values |= plan.at(role, value)
        return values | upload_pictures(self._server, plan, self._task, tick=run.tick)

    def _collected(self, run: Run, entry: Entry, position: int) -> list[GeneratedImage]:
        engine = self._server.engine
        error = outcome.failure(entry, engine=engine, scrub=self._server.scrub)
        if error is not None:
            if outcome.ran_out_of_memory(entry):
                self._make_room()
            raise error
        references = outcome.pictures(entry)
        if not references:
            raise outcome.without_pictures(self._plan.workflow, engine=engine)
        seed = self._plan.seed_of(outcome.graph(entry.get("prompt")))
        if position == 0 and seed is not None:
            # That of an earlier attempt, when it was the one to choose.
            self._seed = seed
        # At once: the server forgets previews when it restarts.
        fetch = partial(self._server.view, tick=run.tick)
        return [
            GeneratedImage(data=run.patiently(partial(fetch, each)), seed=seed)
            for each in references
        ]

    def _make_room(self) -> None:
        """Have the server drop what it keeps in memory before this is tried again."""
        try:
            self._server.send(
                "/free", {"unload_models": True, "free_memory": True}, timeout_s=FREE_TIMEOUT_S
            )
        except EngineError as error:
            logger.info("ComfyUI could not be asked to free its memory: %s", error.detail)


class _Part:
    """The progress of one of several prompts: `darkroom.domain.Progress`."""

    def __init__(self, progress: Progress, position: int, calls: int) -> None:
        self._progress = progress
        self._position = position
        self._calls = calls

    def __call__(
        self,
        share: float | None = None,
        *,
        preview: bytes | None = None,
        upstream_id: str | None = None,
    ) -> None:
        if share is not None:
            share = (self._position + share) / self._calls
        # The job is known by its first prompt.
        first_id = upstream_id if self._position == 0 else None
        self._progress(share, preview=preview, upstream_id=first_id)
