"""Which model files a ComfyUI server has."""

import time
from collections.abc import Callable

from darkroom.errors import Misconfigured
from engines.comfyui_api import ComfyServer, Tick, options
from engines.comfyui_mapping import Role
from engines.comfyui_plan import FROM_TEXT, Plan

ASK_WITHIN_S = 10.0

#: Where the server keeps the files that the loaders of ComfyUI itself choose from.
FOLDERS = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("CheckpointLoader", "ckpt_name"): "checkpoints",
    ("UNETLoader", "unet_name"): "diffusion_models",
}


def list_files(server: ComfyServer, plan: Plan, *, tick: Tick = lambda: None) -> list[str]:
    """The files that the model of a workflow can be chosen from; none where it cannot be chosen.

    Takes 10 s at most. Raises EngineError when the server cannot be asked.
    """
    left_s = _countdown(ASK_WITHIN_S)
    for place in plan.nodes[Role.MODEL]:
        kind = plan.workflow.kind(place.node_id)
        folder = FOLDERS.get((kind, place.key))
        files = server.files(folder, tick=tick, timeout_s=left_s()) if folder else None
        if files is None:
            info = server.node_info(kind, tick=tick, timeout_s=left_s())
            files = options(info or {}, place.key)
        return files or []
    return []


def first_checkpoint(server: ComfyServer, *, tick: Tick) -> str:
    """The checkpoint to use where nobody named one. Raises Misconfigured when there is none."""
    files = list_files(server, FROM_TEXT, tick=tick)
    if not files:
        raise no_checkpoint(server.engine)
    return files[0]


def no_checkpoint(engine: str) -> Misconfigured:
    return Misconfigured(
        f"Engine {engine!r} has no model: put a checkpoint into models/checkpoints of ComfyUI, or"
        " use a workflow that loads another kind."
    )


def _countdown(seconds: float) -> Callable[[], float]:
    """Tells how many of these seconds are left."""
    until = time.monotonic() + seconds
    return lambda: until - time.monotonic()
