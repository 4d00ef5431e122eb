"""The nodes of a workflow that draw, found behind the nodes that save."""

from dataclasses import dataclass

from engines.comfyui_workflow import Link, Place, Workflow

#: Nodes that save or show pictures, those that save best first.
OUTPUTS = (
    "SaveImage",
    "SaveImageAdvanced",
    "SaveAnimatedWEBP",
    "SaveAnimatedPNG",
    "SaveImageWebsocket",
    "PreviewImage",
)
SEED_KEYS = ("seed", "noise_seed")


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """One node that draws, and what feeds it."""

    node_id: str
    positive: Link | None
    negative: Link | None
    latent: Link | None
    model: Link | None
    seed: Place | None
    #: None where the number of steps cannot be chosen on its own.
    steps: Place | None


def samplers(workflow: Workflow) -> list[Sampler]:
    """All that draw what the workflow saves; the one that begins comes first."""
    nearest_first: list[str] = []
    for output in _outputs(workflow):
        nearest_first += [each for each in workflow.upstream(output) if each not in nearest_first]
    # Some add-ons draw on pictures themselves, and have no latent to show for it.
    drawing = [each for each in nearest_first if _draws(workflow, each)] or [
        each for each in nearest_first if _has_seed_and_prompt(workflow, each)
    ]
    found = [_described(workflow, each) for each in drawing]
    return sorted(found, key=lambda each: _depends_on_another(workflow, each, drawing))


def _outputs(workflow: Workflow) -> list[str]:
    """The nodes at the ends that take pictures; unknown ones of add-ons come last."""
    used = {link.node_id for link in workflow.consumed()}

    def takes_pictures(node_id: str) -> bool:
        return any(workflow.link(node_id, key) for key in ("images", "image"))

    ends = [
        each
        for each in workflow.nodes
        if workflow.kind(each) in OUTPUTS or (each not in used and takes_pictures(each))
    ]
    known = {kind: rank for rank, kind in enumerate(OUTPUTS)}
    return sorted(ends, key=lambda each: known.get(workflow.kind(each), len(known)))


def _draws(workflow: Workflow, node_id: str) -> bool:
    is_guided = workflow.link(node_id, "guider") is not None
    return workflow.link(node_id, "latent_image") is not None and (
        is_guided or _has_seed_and_prompt(workflow, node_id)
    )


def _has_seed_and_prompt(workflow: Workflow, node_id: str) -> bool:
    has_seed = any(key in workflow.inputs(node_id) for key in SEED_KEYS)
    return has_seed and workflow.link(node_id, "positive") is not None


def _described(workflow: Workflow, node_id: str) -> Sampler:
    guider, noise, sigmas = (workflow.link(node_id, key) for key in ("guider", "noise", "sigmas"))
    source = guider.node_id if guider else node_id
    return Sampler(
        node_id=node_id,
        positive=_first(workflow, source, "positive", "conditioning", "cond1"),
        negative=workflow.link(source, "negative"),
        latent=workflow.link(node_id, "latent_image"),
        model=workflow.link(source, "model"),
        seed=_input(workflow, noise.node_id if noise else node_id, *SEED_KEYS),
        steps=_steps(workflow, node_id, sigmas),
    )


def _first(workflow: Workflow, node_id: str, *keys: str) -> Link | None:
    return next((link for key in keys if (link := workflow.link(node_id, key))), None)


def _input(workflow: Workflow, node_id: str, *keys: str) -> Place | None:
    present = (key for key in keys if key in workflow.inputs(node_id))
    return next((Place(node_id, key) for key in present), None)


def _steps(workflow: Workflow, node_id: str, sigmas: Link | None) -> Place | None:
    if sigmas is not None:
        for each in workflow.upstream(sigmas.node_id):
            if workflow.kind(each).endswith("Scheduler"):
                return workflow.kept(each, "steps")
        return None
    place = workflow.kept(node_id, "steps")
    return None if place is None or _is_part(workflow, node_id, place) else place


def _is_part(workflow: Workflow, node_id: str, steps: Place) -> bool:
    """Whether it draws only some of the steps: where it begins and ends would have to move too."""
    inputs = workflow.inputs(node_id)
    start, end, total = (
        inputs.get("start_at_step"),
        inputs.get("end_at_step"),
        workflow.value(steps),
    )
    begins_late = isinstance(start, int) and start > 0
    return begins_late or (isinstance(end, int) and isinstance(total, int | float) and end < total)


def _depends_on_another(workflow: Workflow, sampler: Sampler, drawing: list[str]) -> bool:
    if sampler.latent is None:
        return False
    return any(
        each in drawing and each != sampler.node_id
        for each in workflow.upstream(sampler.latent.node_id)
    )
