"""What ComfyUI, or a proxy before it, means by an answer that is an error.

Its own words hold paths, tracebacks and whole lists of files: only single lines of them, scrubbed,
are passed on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from darkroom.errors import (
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    ModelNotOffered,
    RequestRejected,
)
from engines.answers import Answer
from engines.scrubbing import Scrubber

ADDRESS_SETTING = "DARKROOM_COMFYUI_BASE_URL"
KEY_SETTING = "DARKROOM_COMFYUI_API_KEY"
WORKFLOW_SETTING = "DARKROOM_COMFYUI_WORKFLOW"
EDIT_WORKFLOW_SETTING = "DARKROOM_IMAGES_EDIT_COMFYUI_WORKFLOW"

#: The inputs that choose a model.
MODEL_INPUTS = frozenset({"ckpt_name", "unet_name", "model_name"})
#: What is wrong with a value, and not with how nodes are wired.
VALUE_FAULTS = frozenset(
    {"value_smaller_than_min", "value_bigger_than_max", "value_not_in_list", "invalid_input_type"}
)


@dataclass(frozen=True, kw_only=True)
class NodeFault:
    """What the server says is wrong with one node."""

    node_id: str
    kind: str
    code: str
    message: str
    input_name: str
    received: Any


def transport_error(answer: Answer, *, engine: str) -> EngineError:
    """The error for an answer that is not ComfyUI's own; nothing was drawn by that call."""
    name, status = f"Engine {engine!r}", answer.status
    match status:
        case 401 | 403:
            return Misconfigured(
                f"{name} does not let us in (status {status}): correct {KEY_SETTING}, which the"
                " proxy before it asks for.",
                upstream_status=status,
            )
        case 413:
            return RequestRejected(
                f"{name} does not take pictures that large: send smaller ones, or start it with a"
                " larger --max-upload-size.",
                upstream_status=status,
                param="image",
            )
        case 429 | 503:
            return EngineBusy(
                f"{name} is busy or starting: try again later.",
                upstream_status=status,
                retry_after_s=answer.retry_after_s,
            )
        case _ if status >= 500:
            return EngineUnreachable(
                f"{name} is out of order (status {status}): look at its log, and try again later.",
                upstream_status=status,
            )
        case _ if 300 <= status < 400:
            return Misconfigured(
                f"{name} redirects to another address: set {ADDRESS_SETTING} to that one.",
                upstream_status=status,
            )
        case _:
            return Misconfigured(
                f"What answers for engine {engine!r} is not ComfyUI (status {status}): correct"
                f" {ADDRESS_SETTING}.",
                upstream_status=status,
            )


def refused_prompt(content: Mapping[str, Any], *, engine: str, scrub: Scrubber) -> EngineError:
    """The error for a workflow that the server did not accept, wholly or in part."""
    faults = list(_faults(content.get("node_errors")))
    for fault in faults:
        if fault.input_name in MODEL_INPUTS and fault.code == "value_not_in_list":
            return ModelNotOffered(
                f"Engine {engine!r} has no model {scrub(str(fault.received))!r}: choose one it has,"
                " or put that file into its models folder."
            ).traced(code=fault.code)
    for fault in faults:
        return _node_error(fault, engine, scrub)
    return _workflow_error(content.get("error"), engine, scrub)


def _node_error(fault: NodeFault, engine: str, scrub: Scrubber) -> EngineError:
    where = f"node {fault.node_id} ({scrub(fault.kind)})"
    said = scrub(fault.message)
    error = (
        RequestRejected(
            f"Engine {engine!r} refused {scrub(fault.input_name)!r} of {where}: {said}. Change the"
            " request, or the workflow.",
            param=scrub(fault.input_name),
        )
        if fault.code in VALUE_FAULTS
        else Misconfigured(
            f"The workflow of engine {engine!r} is refused at {where}: {said}. Correct"
            f" {WORKFLOW_SETTING} or {EDIT_WORKFLOW_SETTING}."
        )
    )
    return error.traced(code=scrub(fault.code))


def _workflow_error(error: Any, engine: str, scrub: Scrubber) -> EngineError:
    if not isinstance(error, dict):
        return Misconfigured(
            f"Engine {engine!r} refused the workflow without a reason: correct {WORKFLOW_SETTING}"
            f" or {EDIT_WORKFLOW_SETTING}."
        )
    code, said = str(error.get("type") or ""), scrub(str(error.get("message") or ""))
    extra = error.get("extra_info")
    missing = extra.get("class_type") if isinstance(extra, dict) else None
    if missing or "does not exist" in said:
        # Older servers name the missing kind of node in words only.
        which = scrub(str(missing)) if missing else said.partition("node ")[2].split(" does")[0]
        return missing_node(engine, which).traced(code=scrub(code))
    if code == "prompt_no_outputs":
        said = "it saves no picture; give it a SaveImage node"
    return Misconfigured(
        f"The workflow of engine {engine!r} is refused: {said}. Correct {WORKFLOW_SETTING} or"
        f" {EDIT_WORKFLOW_SETTING}."
    ).traced(code=scrub(code))


def missing_node(engine: str, kind: str) -> Misconfigured:
    """The workflow uses a kind of node that the server does not have."""
    return Misconfigured(
        f"The workflow of engine {engine!r} uses the node {kind!r}, which the server lacks: install"
        " the add-on that brings it, or use another workflow."
    )


def failed_run(data: Mapping[str, Any], *, engine: str, scrub: Scrubber) -> EngineFailed:
    """The error for a run that broke."""
    kind = scrub(str(data.get("exception_type") or "an error"))
    where = f"node {scrub(str(data.get('node_id')))} ({scrub(str(data.get('node_type')))})"
    if is_out_of_memory(data):
        return EngineFailed(
            f"Engine {engine!r} ran out of memory at {where}: ask for smaller or fewer pictures."
        ).traced(code=kind)
    lines = str(data.get("exception_message") or "").strip().splitlines() or [""]
    said = f": {scrub(lines[0])}" if lines[0].strip() else ""
    return EngineFailed(
        f"Engine {engine!r} broke at {where} with {kind}{said}. Its own log says more."
    ).traced(code=kind)


def is_out_of_memory(data: Mapping[str, Any]) -> bool:
    """Whether a run broke because the pictures or the model did not fit into memory."""
    kind, message = (str(data.get(key) or "") for key in ("exception_type", "exception_message"))
    words = message.lower()
    return kind.endswith("OutOfMemoryError") or any(
        each in words for each in ("out of memory", "allocation on device")
    )


def _faults(node_errors: Any) -> Iterator[NodeFault]:
    for node_id, node in node_errors.items() if isinstance(node_errors, dict) else ():
        errors = node.get("errors") if isinstance(node, dict) else None
        for error in errors if isinstance(errors, list) else ():
            if not isinstance(error, dict):
                continue
            extra = error.get("extra_info")
            extra = extra if isinstance(extra, dict) else {}
            message = str(error.get("message") or "")
            details = str(error.get("details") or "")
            yield NodeFault(
                node_id=str(node_id),
                kind=str(node.get("class_type") or "?"),
                code=str(error.get("type") or ""),
                message=f"{message} ({details})" if details else message,
                input_name=str(extra.get("input_name") or ""),
                received=extra.get("received_value"),
            )
