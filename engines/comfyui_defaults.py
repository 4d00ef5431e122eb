"""The workflows used where an admin pasted none. They take any checkpoint and no add-ons."""

from collections.abc import Mapping
from typing import Any

from engines.comfyui_workflow import Workflow

Node = dict[str, Any]


def _node(kind: str, **inputs: Any) -> Node:
    return {"class_type": kind, "inputs": inputs}


def _drawn(latent: list[Any], *, denoise: float) -> dict[str, Node]:
    """What all have in common: a latent is drawn on, decoded and saved."""
    return {
        "3": _node(
            "KSampler",
            seed=0,
            steps=20,
            cfg=7.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=denoise,
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=latent,
        ),
        # Which checkpoint is only known once the server is asked.
        "4": _node("CheckpointLoaderSimple", ckpt_name=""),
        "6": _node("CLIPTextEncode", text="", clip=["4", 1]),
        "7": _node("CLIPTextEncode", text="", clip=["4", 1]),
        "8": _node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": _node("SaveImage", images=["8", 0], filename_prefix="darkroom"),
    }


TEXT_TO_IMAGE = Workflow(
    {
        **_drawn(["5", 0], denoise=1.0),
        "5": _node("EmptyLatentImage", width=1024, height=1024, batch_size=1),
    }
)

IMAGE_TO_IMAGE = Workflow(
    {
        **_drawn(["12", 0], denoise=0.75),
        "10": _node("LoadImage", image=""),
        "11": _node("VAEEncode", pixels=["10", 0], vae=["4", 2]),
        "12": _node("RepeatLatentBatch", samples=["11", 0], amount=1),
    }
)

#: What is kept is put back over the result: decoding changes every pixel a little.
INPAINT = Workflow(
    {
        **_drawn(["12", 0], denoise=1.0),
        "9": _node("SaveImage", images=["14", 0], filename_prefix="darkroom"),
        "10": _node("LoadImage", image=""),
        "11": _node("VAEEncode", pixels=["10", 0], vae=["4", 2]),
        "12": _node("RepeatLatentBatch", samples=["15", 0], amount=1),
        "13": _node("RepeatImageBatch", image=["10", 0], amount=1),
        "14": _node(
            "ImageCompositeMasked",
            destination=["13", 0],
            source=["8", 0],
            mask=["10", 1],
            x=0,
            y=0,
            resize_source=False,
        ),
        "15": _node("SetLatentNoiseMask", samples=["11", 0], mask=["10", 1]),
    }
)

#: The node that repeats the picture for the composite must give as many as are drawn.
INPAINT_NODES: list[Mapping[str, Any]] = [
    {"type": "n", "key": "amount", "node_ids": ["12", "13"]},
]
