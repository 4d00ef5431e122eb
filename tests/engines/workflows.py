"""Workflows as people export them from ComfyUI in API format."""

from typing import Any

Graph = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"inputs": inputs, "class_type": kind, "_meta": {"title": kind}}


def a_workflow(save: str = "SaveImage") -> Graph:
    """The workflow that ComfyUI shows at its first start, with an admin's own values."""
    keeps_files = save not in {"PreviewImage", "SaveImageWebsocket"}
    prefix = {"filename_prefix": "mine/admin"} if keeps_files else {}
    return {
        "3": node(
            "KSampler",
            seed=156680208700286,
            steps=4,
            cfg=8,
            sampler_name="euler",
            scheduler="normal",
            denoise=1,
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="dream.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "6": node("CLIPTextEncode", text="beautiful scenery", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="ugly", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node(save, images=["8", 0], **prefix),
    }


def without_batch() -> Graph:
    """Its latent has no batch size."""
    graph = a_workflow()
    graph["5"] = node("SingleLatent", width=512, height=512)
    return graph


def a_flux_workflow(loader: str = "UNETLoader") -> Graph:
    """Guider, noise and scheduler are nodes of their own; there is no negative prompt."""
    unet = (
        node(loader, unet_name="flux-q4.gguf")
        if loader == "UnetLoaderGGUF"
        else node(loader, unet_name="flux.safetensors", weight_dtype="default")
    )
    return {
        "6": node("CLIPTextEncode", text="a mermaid", clip=["11", 0]),
        "8": node("VAEDecode", samples=["13", 0], vae=["10", 0]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="flux"),
        "10": node("VAELoader", vae_name="ae.safetensors"),
        "11": node("DualCLIPLoader", clip_name1="t5", clip_name2="l", type="flux"),
        "12": unet,
        "13": node(
            "SamplerCustomAdvanced",
            noise=["25", 0],
            guider=["22", 0],
            sampler=["16", 0],
            sigmas=["17", 0],
            latent_image=["27", 0],
        ),
        "16": node("KSamplerSelect", sampler_name="euler"),
        "17": node("BasicScheduler", scheduler="simple", steps=20, denoise=1, model=["30", 0]),
        "22": node("BasicGuider", model=["30", 0], conditioning=["26", 0]),
        "25": node("RandomNoise", noise_seed=219670278747233),
        "26": node("FluxGuidance", guidance=3.5, conditioning=["6", 0]),
        "27": node("EmptySD3LatentImage", width=["34", 0], height=["35", 0], batch_size=1),
        "30": node(
            "ModelSamplingFlux",
            max_shift=1.15,
            base_shift=0.5,
            width=["34", 0],
            height=["35", 0],
            model=["12", 0],
        ),
        "34": node("PrimitiveInt", value=1024),
        "35": node("PrimitiveInt", value=1024),
    }


def an_image_to_image_workflow() -> Graph:
    """It draws on a picture, and has no batch size."""
    graph = a_workflow()
    del graph["5"]
    graph["10"] = node("LoadImage", image="example.png")
    graph["11"] = node("VAEEncode", pixels=["10", 0], vae=["4", 2])
    graph["3"]["inputs"] |= {"latent_image": ["11", 0], "denoise": 0.8}
    return graph


def an_inpaint_workflow() -> Graph:
    """It takes the mask from the picture's transparency."""
    graph = an_image_to_image_workflow()
    graph["12"] = node(
        "VAEEncodeForInpaint", pixels=["10", 0], vae=["4", 2], mask=["10", 1], grow_mask_by=6
    )
    graph["3"]["inputs"]["latent_image"] = ["12", 0]
    del graph["11"]
    return graph


def a_qwen_edit_workflow() -> Graph:
    """Its text encoders see two pictures, of which the first is drawn on."""
    graph = an_image_to_image_workflow()
    del graph["10"]
    graph["9"] = node("LoadImage", image="first.png")
    graph["10"] = node("LoadImage", image="second.png")
    graph["11"] = node("VAEEncode", pixels=["9", 0], vae=["4", 2])
    graph["60"] = node("SaveImage", images=["8", 0], filename_prefix="qwen")
    pictures = {"image1": ["9", 0], "image2": ["10", 0], "vae": ["4", 2]}
    for each, text in (("6", "make it blue"), ("7", "ugly")):
        graph[each] = node("TextEncodeQwenImageEditPlus", prompt=text, clip=["4", 1], **pictures)
    return graph
