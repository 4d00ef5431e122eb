"""The inside of the AUTOMATIC1111 stand-in: it loads checkpoints and draws one run at a time."""

import json
import secrets
import time
from collections import deque
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

from PIL import Image

from tests.engines.servers import automatic1111_pictures as pictures
from tests.engines.servers.automatic1111_rules import (
    CHECKPOINTS,
    FAULTS,
    OPTIONS,
    Checkpoint,
    Fault,
    Json,
    check_drawable,
    chosen_sampler,
)
from tests.engines.servers.automatic1111_state import FifoLock, Run, State


@dataclass
class Machine:
    """Draws one run at a time."""

    released: Event
    #: How long a step takes, and loading another checkpoint, in seconds.
    step_s: float = 0.0
    load_s: float = 0.0
    checkpoints: list[Checkpoint] = field(default_factory=lambda: list(CHECKPOINTS))
    options: Json = field(default_factory=lambda: dict(OPTIONS))
    state: State = field(default_factory=State)
    lock: FifoLock = field(default_factory=FifoLock)
    runs: list[Run] = field(default_factory=list)
    #: What the coming runs do instead of drawing, in order; `ok` draws.
    modes: deque[str] = field(default_factory=deque)
    #: Pictures that extensions add after the real ones.
    extras: int = 0
    #: Ids by the time they came; the one that runs, or ran last; the last ones that ended well.
    pending: dict[str, float] = field(default_factory=dict)
    current: str | None = None
    finished: deque[str] = field(default_factory=lambda: deque(maxlen=16))
    #: The checkpoint in memory, which need not be the one in the options.
    loaded: Checkpoint | None = None
    #: How often a checkpoint was read from disk.
    loads: int = 0

    def __post_init__(self) -> None:
        if self.checkpoints:
            self.options["sd_model_checkpoint"] = self.checkpoints[0].title
        else:
            self.options["sd_model_checkpoint"] = None
        self.loaded = self.checkpoints[0] if self.checkpoints else None

    def named(self, name: Any) -> Checkpoint | None:
        return next((each for each in self.checkpoints if name in each.aliases), None)

    def run(self, kind: str, body: Json, init: list[Image.Image], mask: Image.Image | None) -> Json:
        """Wait for the lock and draw. Raises Fault."""
        task_id = body["force_task_id"] or f"task({kind}-{secrets.token_hex(5)})"
        run = Run(kind=kind, prompt=body["prompt"], task_id=task_id)
        self.runs.append(run)
        self.pending[task_id] = time.monotonic()
        with self.lock():
            self.state.begin(kind)
            self.current = task_id
            self.pending.pop(task_id, None)
            run.is_begun = True
            try:
                answer = self._draw(run, body, init, mask)
                # After a failure the task stays the current one until the next begins.
                self.current = None
                self.finished.append(task_id)
            finally:
                run.is_over = True
                run.was_interrupted = self.state.interrupted
                self.state.job, self.state.job_count = "", 0
            return answer

    def progress(self, *, skip_picture: bool) -> Json:
        """Of the job that runs, with no word whose it is."""
        is_idle, preview = self.state.job_count == 0, self.state.preview
        shown = None if skip_picture or preview is None else pictures.encode(preview, "png")
        return {
            "progress": 0.0 if is_idle else max(self.state.share, 0.01),
            "eta_relative": 0.0,
            "state": self.state.view(),
            "current_image": shown,
            "textinfo": None,
        }

    def progress_of(self, asked: Json) -> Json:
        """Of the task that is asked for."""
        task_id, state = asked["id_task"], self.state
        is_active = self.current == task_id
        queue = sorted(self.pending, key=self.pending.__getitem__)
        answer = {
            "active": is_active,
            "queued": task_id in queue,
            "completed": task_id in self.finished,
            "progress": state.share if is_active else None,
            "eta": None,
            "live_preview": None,
            "id_live_preview": state.preview_id if is_active else -1,
            "textinfo": None if is_active else "Waiting...",
        }
        if task_id in queue:
            answer["textinfo"] = f"In queue: {queue.index(task_id) + 1}/{len(queue)}"
        is_new = state.preview_id != asked["id_live_preview"]
        if is_active and asked.get("live_preview") and is_new and state.preview is not None:
            encoded = pictures.encode(state.preview, "png")
            answer["live_preview"] = f"data:image/png;base64,{encoded}"
        return answer

    def load(self, checkpoint: Checkpoint) -> None:
        if checkpoint.file == (self.loaded and self.loaded.file):
            return
        self.loads += 1
        self.released.wait(self.load_s)
        # Its hash becomes known, and its title changes.
        position = self.checkpoints.index(checkpoint)
        self.loaded = self.checkpoints[position] = replace(checkpoint, is_hashed=True)

    def _draw(
        self, run: Run, body: Json, init: list[Image.Image], mask: Image.Image | None
    ) -> Json:
        mode = self.modes.popleft() if self.modes else "ok"
        settings = dict(body["override_settings"] or {})
        for name in settings:
            if name not in self.options:
                raise Fault(500, "KeyError", f"'{name}'")
        # One it does not know is dropped without a word.
        override = self.named(settings.pop("sd_model_checkpoint", None))
        wanted = override or self.named(self.options["sd_model_checkpoint"])
        if wanted is None:
            raise Fault(500, "AttributeError", "'NoneType' object has no attribute 'sd_checkpoint'")
        if mode != "stale":
            self.load(wanted)
        options = self.options | settings
        if not body["override_settings_restore_afterwards"]:
            self.options |= settings
        if mode in FAULTS:
            raise FAULTS[mode]
        check_drawable(body)
        return self._answer(run, body, options, init, mask)

    def _answer(
        self,
        run: Run,
        body: Json,
        options: Json,
        init: list[Image.Image],
        mask: Image.Image | None,
    ) -> Json:
        assert self.loaded is not None
        run.checkpoint = self.loaded.stem
        count = body["batch_size"] * body["n_iter"]
        first = secrets.randbelow(2**32 - 2) if body["seed"] == -1 else body["seed"]
        follows = 0 if body["subseed_strength"] else 1
        seeds = [first + follows * position for position in range(count)]
        self.state.job_count = body["n_iter"]
        drawn: list[Image.Image] = []
        for position in range(body["n_iter"]):
            self.state.skipped = False
            finished = self._sample(body["steps"])
            for seed in seeds[position * body["batch_size"] :][: body["batch_size"]]:
                picture = pictures.draw(
                    body,
                    checkpoint=self.loaded.stem,
                    seed=seed,
                    init=init[0] if init else None,
                    mask=mask,
                )
                drawn.append(picture if finished else pictures.unfinished(picture.size))
                run.drawn += finished
            if self.state.interrupted:
                break
            self.state.job_no += 1
            self.state.sampling_step = 0
        return self._packed(body, options, drawn, seeds, mask)

    def _sample(self, steps: int) -> bool:
        """Take the steps of one batch; False when someone interrupted or skipped it."""
        self.state.sampling_steps = steps
        for step in range(steps):
            if self.state.interrupted or self.state.skipped:
                return False
            if self.step_s:
                self.released.wait(self.step_s)
            self.state.sampling_step = step + 1
            if step % 3 == 2:
                self.state.preview = pictures.unfinished((64, 64))
                self.state.preview_id += 1
        return not (self.state.interrupted or self.state.skipped)

    def _packed(
        self,
        body: Json,
        options: Json,
        drawn: list[Image.Image],
        seeds: list[int],
        mask: Image.Image | None,
    ) -> Json:
        assert self.loaded is not None
        sampler = chosen_sampler(body)
        texts = [
            f"{body['prompt']}\nSteps: {body['steps']}, Sampler: {sampler}, Seed: {seed}"
            for seed, _ in zip(seeds, drawn, strict=False)
        ]
        images: list[tuple[Image.Image, str | None]] = []
        for picture, text in zip(drawn, texts, strict=True):
            images.append((picture, text))
            if mask is not None:
                followers = options["return_mask"], options["return_mask_composite"]
                images += [(mask.convert("RGB"), None)] * sum(map(bool, followers))
        has_grid = body["save_images"] and options["return_grid"] and len(drawn) > 1
        if has_grid:
            images.insert(0, (pictures.grid(drawn), texts[0]))
            texts.insert(0, texts[0])
        images += [(pictures.unfinished((32, 32)), None)] * self.extras
        info = {
            "prompt": body["prompt"],
            "all_prompts": [body["prompt"]] * len(seeds),
            "negative_prompt": body["negative_prompt"],
            "seed": seeds[0],
            "all_seeds": seeds,
            "subseed": 7,
            "width": body["width"],
            "height": body["height"],
            "sampler_name": sampler,
            "cfg_scale": body["cfg_scale"],
            "steps": body["steps"],
            "batch_size": body["batch_size"],
            "sd_model_name": self.loaded.stem,
            "sd_model_hash": self.loaded.short_hash,
            "index_of_first_image": int(has_grid),
            "infotexts": texts,
            "job_timestamp": self.state.job_timestamp,
            "version": "1.10.1",
        }
        kind = options["samples_format"]
        encoded = [pictures.encode(picture, kind, text) for picture, text in images]
        return {
            "images": encoded if body["send_images"] else [],
            # The pictures of the request are not echoed; its seed is, even when it is -1.
            "parameters": {**body, "init_images": None, "mask": None},
            "info": json.dumps(info),
        }
