"""Plan: a workflow, the roles of its nodes, and so what it can do and how it is filled in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from darkroom.domain import MAX_SEED, Capabilities, FreeSizes, MaskSupport, Size
from engines.comfyui_defaults import IMAGE_TO_IMAGE, INPAINT, INPAINT_NODES, TEXT_TO_IMAGE
from engines.comfyui_mapping import NodeMap, Role, map_nodes
from engines.comfyui_workflow import Nodes, Place, UnusableWorkflow, Workflow

MAX_STEPS = 10_000
#: What both edges must be multiples of, by the node that makes the empty picture, in pixels.
MULTIPLES = {
    "EmptySD3LatentImage": 16,
    "EmptyFlux2LatentImage": 16,
    "EmptyHunyuanImageLatent": 32,
}
DEFAULT_MULTIPLE = 8


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One workflow that can be filled in."""

    workflow: Workflow
    nodes: NodeMap
    #: Whether it is one of ours, which need to be told a checkpoint.
    is_default: bool = False

    @classmethod
    def of(
        cls, workflow: Workflow, listed: Iterable[Any] = (), *, is_default: bool = False
    ) -> Self:
        """Raises UnusableWorkflow when nothing can be asked of it."""
        nodes = map_nodes(workflow, listed)
        if not nodes[Role.PROMPT] and not nodes[Role.IMAGE]:
            raise UnusableWorkflow(
                "the node that takes the prompt cannot be found in it: name it in the list of nodes"
            )
        return cls(workflow=workflow, nodes=nodes, is_default=is_default)

    @property
    def takes_pictures(self) -> bool:
        return bool(self.nodes[Role.IMAGE])

    @property
    def sizes(self) -> FreeSizes | tuple[Size, ...]:
        """The sizes it draws; none where the workflow decides."""
        if not self.nodes[Role.WIDTH] or not self.nodes[Role.HEIGHT]:
            return ()
        kinds = {self.workflow.kind(each) for each in self.workflow.nodes}
        multiples = [MULTIPLES[each] for each in kinds & MULTIPLES.keys()]
        return FreeSizes(multiple=max(multiples, default=DEFAULT_MULTIPLE))

    @property
    def model(self) -> str | None:
        """The file of the model that is written down in it."""
        for place in self.nodes[Role.MODEL]:
            value = self.workflow.value(place)
            return value if isinstance(value, str) and value else None
        return None

    @property
    def checkpoint(self) -> str | None:
        """The same, where it is one that our workflows could load too."""
        keys = {place.key for place in self.nodes[Role.MODEL]}
        return self.model if keys == {"ckpt_name"} else None

    def at(self, role: Role, value: Any) -> dict[Place, Any]:
        """That value in all places of a role."""
        return dict.fromkeys(self.nodes[role], value)

    def filled(self, values: Mapping[Place, Any], *, run_id: str) -> Nodes:
        """The nodes to send, with these values in their places.

        Every run saves under names of its own: otherwise the server may answer with the files of
        an earlier run, which may be gone.
        """
        nodes = self.workflow.copied()
        for place, value in values.items():
            nodes[place.node_id]["inputs"][place.key] = value
        for node in nodes.values():
            prefix = node["inputs"].get("filename_prefix")
            if isinstance(prefix, str):
                node["inputs"]["filename_prefix"] = f"{prefix}_{run_id[:8]}"
        return nodes

    def capabilities(self, *, editing: "Plan", repainting: "Plan") -> Capabilities:
        """What can be asked, when these others are used for pictures without and with a mask."""
        has_steps = bool(self.nodes[Role.STEPS])
        return Capabilities(
            sizes=self.sizes,
            negative_prompt=bool(self.nodes[Role.NEGATIVE_PROMPT]),
            seed=bool(self.nodes[Role.SEED]),
            max_steps=MAX_STEPS if has_steps else None,
            max_input_images=len(editing.nodes[Role.IMAGE]),
            mask=MaskSupport.EXACT if repainting.nodes[Role.MASK] else MaskSupport.NONE,
        )

    def seed_of(self, nodes: Mapping[str, Any]) -> int | None:
        """The seed that a run with these nodes has."""
        for place in self.nodes[Role.SEED]:
            value = _value(nodes, place)
            if isinstance(value, int) and 0 <= value <= MAX_SEED:
                return value
        return None


def _value(nodes: Mapping[str, Any], place: Place) -> Any:
    node = nodes.get(place.node_id)
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs.get(place.key) if isinstance(inputs, dict) else None


FROM_TEXT = Plan.of(TEXT_TO_IMAGE, is_default=True)
FROM_PICTURE = Plan.of(IMAGE_TO_IMAGE, is_default=True)
FROM_MASKED_PICTURE = Plan.of(INPAINT, INPAINT_NODES, is_default=True)
