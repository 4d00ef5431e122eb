"""Whether a ComfyUI server answers, and has all that a workflow needs."""

import time

from darkroom.errors import ModelNotOffered
from engines.comfyui_api import ComfyServer, options
from engines.comfyui_errors import missing_node
from engines.comfyui_mapping import Role
from engines.comfyui_models import no_checkpoint
from engines.comfyui_plan import Plan

CHECK_WITHIN_S = 10.0


def verify(server: ComfyServer, plan: Plan) -> str:
    """A sentence that says what answers, within 10 s. Raises the EngineError a job would meet."""
    until = time.monotonic() + CHECK_WITHIN_S
    version = server.version(timeout_s=until - time.monotonic())
    kinds = {plan.workflow.kind(each) for each in plan.workflow.nodes}
    offered: dict[str, list[str] | None] = {}
    models = {plan.workflow.kind(each.node_id): each.key for each in plan.nodes[Role.MODEL]}
    for kind in sorted(kinds):
        info = server.node_info(kind, tick=lambda: None, timeout_s=until - time.monotonic())
        if info is None:
            raise missing_node(server.engine, kind)
        if kind in models:
            offered[kind] = options(info, models[kind])
    return f"Engine {server.engine!r} answers: ComfyUI {version}{_with(server, plan, offered)}."


def _with(server: ComfyServer, plan: Plan, offered: dict[str, list[str] | None]) -> str:
    files = next((each for each in offered.values() if each is not None), None)
    if files is None:
        return ", which has all nodes of the workflow"
    if plan.is_default and not files:
        raise no_checkpoint(server.engine)
    if plan.model is not None and plan.model not in files:
        raise ModelNotOffered(
            f"Engine {server.engine!r} has no model {plan.model!r}, which its workflow loads: put"
            " that file into its models folder, or choose another in the workflow."
        )
    return f" with {len(files)} models, which has all nodes of the workflow"
