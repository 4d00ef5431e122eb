"""Hands the pictures of an edit to ComfyUI, and says which nodes load them."""

import uuid
from typing import Any

from darkroom.domain import InputImage
from engines.base import Task
from engines.comfyui_api import ComfyServer, Tick
from engines.comfyui_mapping import Role
from engines.comfyui_pictures import fitted, mask_picture, own_mask, with_mask
from engines.comfyui_plan import Plan
from engines.comfyui_workflow import Place

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
#: A node that loads a mask by itself; the others take it from a picture's transparency.
MASK_LOADER = "LoadImageMask"


def upload_pictures(server: ComfyServer, plan: Plan, task: Task, *, tick: Tick) -> dict[Place, Any]:
    """The names that the nodes of `plan` load the task's pictures and its mask by."""
    if not task.images:
        return {}
    images, mask = list(task.images), task.mask
    if plan.is_default:
        images[0], mask = fitted(images[0], mask, task.request.size)
    places, masks = plan.nodes[Role.IMAGE], plan.nodes[Role.MASK]
    values: dict[Place, Any] = {}
    if masks and mask is None:
        mask = own_mask(images[0])
    if mask is not None:
        separate = [each for each in masks if plan.workflow.kind(each.node_id) == MASK_LOADER]
        if separate:
            values |= _loading_mask(plan, separate, _upload(server, mask_picture(mask), tick))
        if len(separate) < len(masks):
            images[0] = with_mask(images[0], mask)
    names = [_upload(server, each, tick) for each in images]
    values |= dict(zip(places, names, strict=False))
    inner = [each for each in masks if plan.workflow.kind(each.node_id) != MASK_LOADER]
    return values | dict.fromkeys(inner, names[0])


def _loading_mask(plan: Plan, places: list[Place], name: str) -> dict[Place, Any]:
    """White is repainted in each colour; in the channel `alpha` it would be the other way."""
    channels = [Place(each.node_id, "channel") for each in places]
    return dict.fromkeys(places, name) | dict.fromkeys(channels, "red")


def _upload(server: ComfyServer, picture: InputImage, tick: Tick) -> str:
    # A name of its own, or it could take the place of somebody else's picture.
    name = f"darkroom-{uuid.uuid4().hex}.{EXTENSIONS[picture.content_type]}"
    return server.upload(name, picture.data, picture.content_type, tick=tick)
