"""A ComfyUI workflow in API format: read from what people paste, and walked along its links.

In this format a workflow is an object of nodes by id, each with its `class_type` and its `inputs`;
an input is a value, or a link: a list of another node's id and the number of its output.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

Nodes = dict[str, dict[str, Any]]

#: Nodes that hold one value for others to link to keep it under one of these.
VALUE_KEYS = ("value", "text", "string", "int", "number", "seed")

HOW_TO_EXPORT = (
    "open it in ComfyUI, choose Workflow, then Export (API), and paste the content of that file"
)


class UnusableWorkflow(Exception):
    """Why a workflow, or what an admin says about it, cannot be used: the end of a sentence."""


@dataclass(frozen=True)
class Link:
    """Where the value of an input comes from."""

    node_id: str
    output: int


@dataclass(frozen=True)
class Place:
    """One input of one node."""

    node_id: str
    key: str


@dataclass(frozen=True)
class Workflow:
    """One graph of nodes. Never changed in place."""

    nodes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, pasted: Any) -> Self | None:
        """What an admin pasted, as text or as an object; None when that is nothing.

        Raises UnusableWorkflow when it is no workflow in API format.
        """
        content = _parsed(pasted)
        if not content:
            return None
        if not isinstance(content, dict):
            raise UnusableWorkflow(f"it is no workflow: {HOW_TO_EXPORT}")
        for wrapper in ("prompt", "output"):
            inner = content.get(wrapper)
            if isinstance(inner, dict) and not _is_node(inner):
                content = inner
                break
        if isinstance(content.get("nodes"), list):
            raise UnusableWorkflow(
                "it is in the format that ComfyUI's editor saves, not in API format:"
                f" {HOW_TO_EXPORT}"
            )
        # The server looks at every key, so whatever else is in the file must not be sent.
        nodes = {key: node for key, node in content.items() if _is_node(node)}
        if not nodes:
            raise UnusableWorkflow(f"it has no nodes: {HOW_TO_EXPORT}")
        return cls(nodes)

    def copied(self) -> Nodes:
        """The nodes, to be filled in and sent."""
        return copy.deepcopy({key: dict(node) for key, node in self.nodes.items()})

    def kind(self, node_id: str) -> str:
        """The class of a node."""
        return str(self.nodes[node_id]["class_type"])

    def inputs(self, node_id: str) -> Mapping[str, Any]:
        inputs: Mapping[str, Any] = self.nodes[node_id]["inputs"]
        return inputs

    def link(self, node_id: str, key: str) -> Link | None:
        """What feeds an input; None when it is a value, missing, or leads nowhere."""
        value = self.inputs(node_id).get(key)
        if not isinstance(value, list) or len(value) != 2:
            return None
        source, output = str(value[0]), value[1]
        if source not in self.nodes or not isinstance(output, int):
            return None
        return Link(source, output)

    def links(self, node_id: str) -> Iterator[Link]:
        """All that feeds a node, in the order of its inputs."""
        for key in self.inputs(node_id):
            link = self.link(node_id, key)
            if link is not None:
                yield link

    def consumed(self) -> set[Link]:
        """Every output that some node uses."""
        return {link for node_id in self.nodes for link in self.links(node_id)}

    def kept(self, node_id: str, key: str) -> Place | None:
        """Where the plain value of an input is kept: there, or in the value node it is linked to.

        None when it is computed, or missing.
        """
        seen: set[str] = set()
        while node_id not in seen:
            seen.add(node_id)
            value = self.inputs(node_id).get(key)
            if isinstance(value, str | int | float):
                return Place(node_id, key)
            link = self.link(node_id, key)
            if link is None:
                return None
            node_id = link.node_id
            key = next((each for each in VALUE_KEYS if each in self.inputs(node_id)), "")
        return None

    def settled(self, node_id: str, key: str) -> Place:
        """Where to put a value of our own; it takes the place of one that is computed."""
        return self.kept(node_id, key) or Place(node_id, key)

    def value(self, place: Place) -> Any:
        return self.inputs(place.node_id).get(place.key)

    def upstream(self, node_id: str) -> list[str]:
        """The node itself and all it depends on, nearest first."""
        found = [node_id]
        for each in found:
            found += [link.node_id for link in _distinct(self.links(each), found)]
        return found


def by_number(node_id: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts node ids as people count: `9` before `10`, `57:3` after `57`."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in node_id.split(":"))


def _distinct(links: Iterator[Link], seen: list[str]) -> Iterator[Link]:
    new: set[str] = set()
    for each in links:
        if each.node_id not in seen and each.node_id not in new:
            new.add(each.node_id)
            yield each


def _parsed(pasted: Any) -> Any:
    if not isinstance(pasted, str):
        return pasted
    if not pasted.strip():
        return None
    try:
        return orjson.loads(pasted)
    except orjson.JSONDecodeError as error:
        raise UnusableWorkflow(f"it is not JSON ({error})") from error


def _is_node(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("class_type"), str)
        and isinstance(value.get("inputs"), dict)
    )
