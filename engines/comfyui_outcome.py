"""What became of a run, read from ComfyUI's history of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from darkroom.errors import EngineError, EngineFailed, Misconfigured
from engines.comfyui_api import PictureRef
from engines.comfyui_errors import WORKFLOW_SETTING, failed_run, is_out_of_memory
from engines.comfyui_workflow import Workflow, by_number
from engines.scrubbing import Scrubber

Entry = Mapping[str, Any]


def failure(entry: Entry, *, engine: str, scrub: Scrubber) -> EngineError | None:
    """Why a run that is over drew nothing; None when it succeeded.

    The messages decide, newest first: an interrupted run has the status of a broken one.
    """
    for kind, data in _messages(entry):
        match kind:
            case "execution_error" if data.get("exception_type") == "ExecutionBlocked":
                # A branch that was switched off on purpose.
                continue
            case "execution_error":
                return failed_run(data, engine=engine, scrub=scrub)
            case "execution_interrupted":
                return EngineFailed(
                    f"The run at engine {engine!r} was interrupted on the server by someone else:"
                    " ask again."
                )
            case "execution_success":
                return None
    status = entry.get("status")
    if isinstance(status, dict) and status.get("status_str") == "error":
        return EngineFailed(f"Engine {engine!r} broke without saying why: see its own log.")
    return None


def ran_out_of_memory(entry: Entry) -> bool:
    return any(
        kind == "execution_error" and is_out_of_memory(data) for kind, data in _messages(entry)
    )


def pictures(entry: Entry) -> list[PictureRef]:
    """The pictures of all nodes, by node and then by place; else previews."""
    outputs = entry.get("outputs")
    outputs = outputs if isinstance(outputs, dict) else {}
    found: dict[PictureRef, None] = {}
    for node_id in sorted(outputs, key=by_number):
        output = outputs[node_id]
        listed = output.get("images") if isinstance(output, dict) else None
        for item in listed if isinstance(listed, list) else ():
            if isinstance(item, dict) and isinstance(item.get("filename"), str):
                reference = PictureRef(
                    filename=item["filename"],
                    subfolder=str(item.get("subfolder") or ""),
                    folder=str(item.get("type") or "output"),
                )
                found[reference] = None
    saved = [each for each in found if each.folder == "output"]
    return saved or [each for each in found if each.folder == "temp"]


def without_pictures(workflow: Workflow, *, engine: str) -> EngineError:
    """The error for a run that succeeded and left no picture to fetch."""
    for node_id in workflow.nodes:
        if workflow.kind(node_id) == "SaveImageWebsocket":
            return Misconfigured(
                f"Node {node_id} of the workflow of engine {engine!r} is a SaveImageWebsocket,"
                f" which keeps nothing: put a SaveImage in its place, in {WORKFLOW_SETTING}."
            )
    used = {link.node_id for link in workflow.consumed()}
    ends = ", ".join(
        f"{each} ({workflow.kind(each)})"
        for each in sorted(workflow.nodes, key=by_number)
        if each not in used
    )
    return EngineFailed(
        f"Engine {engine!r} finished without a picture: its last nodes are {ends or 'unknown'};"
        " give the workflow a SaveImage node."
    )


def graph(item: Any) -> dict[str, Any]:
    """The nodes that an entry of the history was run with."""
    nodes = item[2] if isinstance(item, list) and len(item) > 2 else None
    return nodes if isinstance(nodes, dict) else {}


def _messages(entry: Entry) -> Iterator[tuple[str, Mapping[str, Any]]]:
    status = entry.get("status")
    listed = status.get("messages") if isinstance(status, dict) else None
    for message in reversed(listed if isinstance(listed, list) else []):
        if isinstance(message, list) and len(message) > 1 and isinstance(message[1], dict):
            yield str(message[0]), message[1]
