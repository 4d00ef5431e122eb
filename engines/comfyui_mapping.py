"""Which inputs of a workflow take prompt, seed, size and so on.

Inferred by walking the links back from where pictures are saved; an admin's list of nodes, in the
form Open WebUI has for it, goes before what was inferred.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engines.comfyui_conditioning import TEXT_KEYS, text_encoders, text_keys
from engines.comfyui_samplers import Sampler, samplers
from engines.comfyui_workflow import VALUE_KEYS, Link, Place, UnusableWorkflow, Workflow, by_number

#: Nodes whose own width and height only tell the model what size is drawn.
TOLD_THE_SIZE = frozenset({"CLIPTextEncodeSDXL", "ModelSamplingFlux", "Flux2Scheduler"})
#: The inputs along which a picture's latent comes, nearest first.
LATENT_KEYS = ("latent_image", "latent", "samples", "samples1", "pixels", "image", "images")


class Role(StrEnum):
    """What an input is for, by the names Open WebUI has for it."""

    PROMPT = "prompt"
    NEGATIVE_PROMPT = "negative_prompt"
    MODEL = "model"
    WIDTH = "width"
    HEIGHT = "height"
    COUNT = "n"
    STEPS = "steps"
    SEED = "seed"
    IMAGE = "image"
    MASK = "mask"


#: What the input is called, most usual first.
KEYS: Mapping[Role, tuple[str, ...]] = {
    Role.PROMPT: TEXT_KEYS,
    Role.NEGATIVE_PROMPT: TEXT_KEYS,
    Role.MODEL: ("ckpt_name", "unet_name", "model_name"),
    Role.WIDTH: ("width",),
    Role.HEIGHT: ("height",),
    Role.COUNT: ("batch_size", "amount"),
    Role.STEPS: ("steps",),
    Role.SEED: ("seed", "noise_seed"),
    Role.IMAGE: ("image",),
    Role.MASK: ("image",),
}


@dataclass(frozen=True, kw_only=True)
class NodeMap:
    """The places of each role, for one workflow."""

    places: Mapping[Role, tuple[Place, ...]]
    #: The nodes that draw, whose steps are the progress.
    samplers: tuple[str, ...] = ()

    def __getitem__(self, role: Role) -> tuple[Place, ...]:
        return self.places.get(role, ())

    def described(self) -> dict[str, list[dict[str, Any]]]:
        """Role, then its nodes and their input, as an admin could write it down."""
        listed: dict[str, list[dict[str, Any]]] = {}
        for role in Role:
            by_key: dict[str, list[str]] = {}
            for place in self[role]:
                by_key.setdefault(place.key, []).append(place.node_id)
            if by_key:
                listed[role.value] = [
                    {"node_ids": node_ids, "key": key} for key, node_ids in by_key.items()
                ]
        return listed


def map_nodes(workflow: Workflow, listed: Iterable[Any] = ()) -> NodeMap:
    """The roles of the nodes of `workflow`, of which an admin `listed` some.

    Raises UnusableWorkflow when the list does not fit the workflow.
    """
    found = samplers(workflow)
    places = {role: tuple(each) for role, each in _inferred(workflow, found)}
    places |= _listed(workflow, listed)
    return NodeMap(
        places={role: each for role, each in places.items() if each},
        samplers=tuple(each.node_id for each in found),
    )


def _inferred(workflow: Workflow, found: list[Sampler]) -> Iterator[tuple[Role, Iterable[Place]]]:
    images, masks = _pictures(workflow)
    yield Role.IMAGE, images
    yield Role.MASK, masks
    if not found:
        return
    base = found[0]
    positive = text_encoders(workflow, base.positive)[:1]
    negative = text_encoders(workflow, base.negative)[:1]
    prompt = [workflow.settled(each, key) for each in positive for key in text_keys(workflow, each)]
    yield Role.PROMPT, prompt
    unwanted = [
        workflow.settled(each, key) for each in negative for key in text_keys(workflow, each)
    ]
    # Where both sides read one text, there is no negative prompt to give.
    yield Role.NEGATIVE_PROMPT, [] if set(unwanted) & set(prompt) else unwanted
    yield Role.MODEL, _model(workflow, base)
    yield Role.SEED, _alike(workflow, [each.seed for each in found])
    yield Role.STEPS, _alike(workflow, [each.steps for each in found]) if base.steps else []
    yield from _size(workflow, base)
    yield Role.COUNT, _count(workflow, base)


def _alike(workflow: Workflow, candidates: list[Place | None]) -> list[Place]:
    """The first of these and all that have the same value: passes over one picture."""
    settled = [workflow.settled(each.node_id, each.key) for each in candidates if each]
    values = [workflow.value(each) for each in settled]
    same = [place for place, value in zip(settled, values, strict=True) if value == values[0]]
    return list(dict.fromkeys(same))


def _model(workflow: Workflow, base: Sampler) -> list[Place]:
    """The loader at the end of the chain of whatever changes the model."""
    link = base.model
    seen: set[str] = set()
    while link is not None and link.node_id not in seen:
        seen.add(link.node_id)
        for key in KEYS[Role.MODEL]:
            if key in workflow.inputs(link.node_id):
                return [workflow.settled(link.node_id, key)]
        link = workflow.link(link.node_id, "model") or workflow.link(link.node_id, "model1")
    return []


def _latents(workflow: Workflow, base: Sampler) -> Iterator[str]:
    """The nodes that what is drawn on comes through, nearest first."""
    link = base.latent
    seen: set[str] = set()
    while link is not None and link.node_id not in seen:
        seen.add(link.node_id)
        yield link.node_id
        links = (workflow.link(link.node_id, key) for key in LATENT_KEYS)
        link = next((each for each in links if each is not None), None)


def _size(workflow: Workflow, base: Sampler) -> Iterator[tuple[Role, list[Place]]]:
    for node_id in _latents(workflow, base):
        inputs = workflow.inputs(node_id)
        # With x and y it cuts out, or pads: that is no size of the picture.
        if not {"width", "height"} <= inputs.keys() or {"x", "y"} & inputs.keys():
            continue
        width, height = workflow.kept(node_id, "width"), workflow.kept(node_id, "height")
        if width is None or height is None:
            return
        if width == height:
            # One value feeds both: each gets its own.
            width, height = Place(node_id, "width"), Place(node_id, "height")
        told = [each for each in workflow.nodes if workflow.kind(each) in TOLD_THE_SIZE]
        yield Role.WIDTH, [width, *_values(workflow, told, ("width", "target_width"))]
        yield Role.HEIGHT, [height, *_values(workflow, told, ("height", "target_height"))]
        return


def _values(workflow: Workflow, node_ids: list[str], keys: tuple[str, ...]) -> Iterator[Place]:
    for node_id in node_ids:
        for key in keys:
            if isinstance(workflow.inputs(node_id).get(key), int):
                yield Place(node_id, key)


def _count(workflow: Workflow, base: Sampler) -> list[Place]:
    for node_id in _latents(workflow, base):
        is_repeater = workflow.kind(node_id) == "RepeatLatentBatch"
        place = workflow.kept(node_id, "amount" if is_repeater else "batch_size")
        if place is not None:
            return [place]
    return []


def _pictures(workflow: Workflow) -> tuple[list[Place], list[Place]]:
    """Where pictures are loaded to be changed, and where masks are."""
    consumed = workflow.consumed()
    loaders = sorted((each for each in workflow.nodes if _loads(workflow, each)), key=by_number)
    masked = [each for each in loaders if Link(each, 1) in consumed]
    separate = [each for each in workflow.nodes if workflow.kind(each) == "LoadImageMask"]
    separate = [each for each in sorted(separate, key=by_number) if Link(each, 0) in consumed]
    pictured = [each for each in loaders if Link(each, 0) in consumed]
    # The mask belongs to the first picture, so the loader that gives both comes first.
    pictured.sort(key=lambda each: each not in masked)
    return (
        [Place(each, "image") for each in pictured],
        [Place(each, "image") for each in [*separate, *masked]],
    )


def _loads(workflow: Workflow, node_id: str) -> bool:
    return workflow.kind(node_id) in {"LoadImage", "LoadImageOutput"}


def _listed(workflow: Workflow, listed: Iterable[Any]) -> dict[Role, tuple[Place, ...]]:
    places: dict[Role, tuple[Place, ...]] = {}
    for entry in listed:
        if not isinstance(entry, dict):
            raise UnusableWorkflow("each entry of its list of nodes must be an object")
        node_ids = _node_ids(entry.get("node_ids"))
        if not node_ids:
            continue
        try:
            role = Role(entry.get("type") or "")
        except ValueError:
            known = ", ".join(Role)
            raise UnusableWorkflow(
                f"its list of nodes has the type {entry.get('type')!r}; there are {known}"
            ) from None
        for node_id in node_ids:
            if node_id not in workflow.nodes:
                raise UnusableWorkflow(
                    f"its list of nodes names {node_id!r} for {role}, which is none of its nodes"
                )
            place = Place(node_id, _key(workflow, node_id, role, entry.get("key")))
            places[role] = (*places.get(role, ()), place)
    return places


def _node_ids(value: Any) -> list[str]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list):
        return []
    return [str(each).strip() for each in value if str(each).strip()]


def _key(workflow: Workflow, node_id: str, role: Role, given: Any) -> str:
    """The input that is meant: Open WebUI fills in `text` where nobody chose one."""
    inputs = workflow.inputs(node_id)
    wanted = given if isinstance(given, str) and given else KEYS[role][0]
    candidates = [wanted, *KEYS[role], *VALUE_KEYS]
    return next((each for each in candidates if each in inputs), wanted)
