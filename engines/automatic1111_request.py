"""What is sent to an AUTOMATIC1111 server for one task."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

import pybase64

from darkroom.domain import Size
from engines.base import Task

#: What an admin's params cannot say: the caller's words, and the form of the answer.
OURS = frozenset(
    {
        "prompt",
        "seed",
        "n_iter",
        "init_images",
        "mask",
        "inpainting_mask_invert",
        "force_task_id",
        "send_images",
        "override_settings_restore_afterwards",
    }
)

#: Where the API's own defaults surprise people who know the web interface: it takes 50 steps.
DEFAULTS: Mapping[str, Any] = {"steps": 20, "save_images": False}

#: For edits it blanks what it repaints, looks only at the masked part, and stretches pictures.
EDIT_DEFAULTS: Mapping[str, Any] = {
    "inpainting_fill": 1,
    "inpaint_full_res": False,
    "resize_mode": 1,
}


@dataclass(frozen=True, kw_only=True)
class Params:
    """The fields and settings that an admin wants in every request."""

    fields: Mapping[str, Any]
    settings: Mapping[str, Any]
    #: Pictures drawn side by side; more of them take more memory.
    batch_size: int

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Raises ValueError that says what is wrong."""
        fields = {name: value for name, value in content.items() if name not in OURS}
        settings = fields.pop("override_settings", None) or {}
        if not isinstance(settings, dict):
            raise ValueError("its `override_settings` must be an object")  # noqa: TRY004
        batch_size = fields.pop("batch_size", 1)
        if type(batch_size) is not int or batch_size < 1:
            raise ValueError("its `batch_size` must be a whole number of at least 1")
        return cls(fields=fields, settings=settings, batch_size=batch_size)

    @property
    def names(self) -> frozenset[str]:
        """All that a complaint may be about."""
        return frozenset({*self.fields, *self.settings, "override_settings", "batch_size"})

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint to use where the caller leaves it open."""
        name = self.settings.get("sd_model_checkpoint")
        return name if isinstance(name, str) and name else None

    @property
    def sampler(self) -> str | None:
        for field in ("sampler_name", "sampler_index"):
            if isinstance(name := self.fields.get(field), str) and name:
                return name
        return None

    @property
    def scheduler(self) -> str | None:
        name = self.fields.get("scheduler")
        return name if isinstance(name, str) and name else None


def body_for(
    task: Task, *, params: Params, checkpoint: str | None, size: Size | None, run_id: str
) -> dict[str, Any]:
    """The body of `txt2img`, or of `img2img` when the task has a picture.

    What the caller asked for goes before the admin's params, and those go before our defaults.
    `checkpoint` is a title; None leaves the one that is loaded.
    """
    request = task.request
    settings = dict(params.settings)
    if checkpoint is not None:
        settings["sd_model_checkpoint"] = checkpoint
    batch_size = min(params.batch_size, request.count)
    asked = {
        "negative_prompt": request.negative_prompt,
        "steps": request.steps,
        "width": None if size is None else size.width,
        "height": None if size is None else size.height,
    }
    body: dict[str, Any] = {**DEFAULTS, **(EDIT_DEFAULTS if task.images else {}), **params.fields}
    body |= {name: value for name, value in asked.items() if value is not None}
    body |= {
        "prompt": request.prompt,
        "seed": -1 if request.seed is None else request.seed,
        "batch_size": batch_size,
        # One after the other, so that many pictures need no more memory than one.
        "n_iter": ceil(request.count / batch_size),
        "send_images": True,
        "force_task_id": run_id,
        "override_settings": settings,
        "override_settings_restore_afterwards": True,
    }
    if body.get("enable_hr"):
        # Forge breaks without it; AUTOMATIC1111 does not know it, and does not mind.
        body.setdefault("hr_additional_modules", ["Use same choices"])
    if task.images:
        body["init_images"] = [_encoded(task.images[0].data)]
    if task.images and task.mask is not None:
        body |= {"mask": _encoded(task.mask), "inpainting_mask_invert": 0}
    return body


def _encoded(data: bytes) -> str:
    return pybase64.b64encode(data).decode()
