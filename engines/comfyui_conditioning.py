"""The text encoders of a workflow, found behind what guides a sampler."""

from engines.comfyui_workflow import Link, Workflow

#: The inputs of text encoders that take the prompt; some take it more than once.
TEXT_KEYS = (
    "text",
    "prompt",
    "user_prompt",
    "text_g",
    "text_l",
    "clip_l",
    "clip_g",
    "t5xxl",
    "llama",
    "bert",
    "mt5xl",
)
#: The inputs along which conditioning passes from node to node, the main one first.
CONDITIONING_KEYS = (
    "conditioning",
    "conditioning_1",
    "conditioning_to",
    "cond1",
    "conditioning_2",
    "conditioning_from",
    "cond2",
)
#: Makes conditioning of nothing: whatever text came before does not count.
ZERO = "ConditioningZeroOut"


def text_keys(workflow: Workflow, node_id: str) -> list[str]:
    """The inputs of a text encoder that take the prompt; none for other nodes."""
    inputs = workflow.inputs(node_id)
    known = [key for key in TEXT_KEYS if key in inputs]
    if known or workflow.link(node_id, "clip") is None:
        return known
    return [key for key, value in inputs.items() if isinstance(value, str)]


def text_encoders(workflow: Workflow, link: Link | None) -> list[str]:
    """The text encoders that feed `link`, the main one first."""
    found: list[str] = []
    waiting = [link] if link else []
    seen: set[Link] = set()
    while waiting:
        each = waiting.pop(0)
        if each in seen or workflow.kind(each.node_id) == ZERO:
            continue
        seen.add(each)
        if text_keys(workflow, each.node_id):
            found.append(each.node_id)
        else:
            waiting += _before(workflow, each)
    return found


def _before(workflow: Workflow, link: Link) -> list[Link]:
    keys: tuple[str, ...] = CONDITIONING_KEYS
    if "positive" in workflow.inputs(link.node_id):
        # Such a node passes both sides on, each through an output of its own.
        keys = ("negative",) if link.output == 1 else ("positive",)
    links = (workflow.link(link.node_id, key) for key in keys)
    return [each for each in links if each is not None]
