"""What the nodes of the stand-in for ComfyUI compute: small but real pictures.

Each picture shows what it was made of. Its colour follows from prompt, seed and model; a picture
that was changed shines through, and outside its mask it is left as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from PIL import Image, ImageChops

from tests.engines.servers.stand_in import Json

Colour = tuple[int, int, int]


class Broken(Exception):
    """A node that failed while it ran."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Latent:
    """Pictures on their way."""

    size: tuple[int, int]
    batch: int = 1
    #: What is changed; None where it is drawn from nothing.
    picture: Image.Image | None = None
    mask: Image.Image | None = None
    #: Once drawn.
    pictures: tuple[Image.Image, ...] = ()


def colour_of(prompt: str, negative: str, seed: int, model: str, index: int = 0) -> Colour:
    """The colour of what is drawn from these; public, so that tests know what to expect."""
    digest = sha256(repr((prompt, negative, seed, model, index)).encode()).digest()
    return (digest[0], digest[1], digest[2])


class Painter:
    """Computes nodes. `sample` is called for each step of a sampler, with its latent so far."""

    def __init__(
        self,
        open_input: Callable[[str], Image.Image],
        sample: Callable[[int, int, Image.Image], None],
    ) -> None:
        self._open_input = open_input
        self._sample = sample

    def compute(self, kind: str, inputs: Json) -> tuple[Any, ...]:
        """The outputs of a node. Raises Broken."""
        i = inputs
        match kind:
            case "CheckpointLoaderSimple":
                if i["ckpt_name"].startswith("rotten"):
                    raise Broken(
                        "safetensors._safetensors_rust.SafetensorError",
                        "Error while deserializing header: header too large\n",
                    )
                return i["ckpt_name"], "clip", "vae"
            case "UNETLoader" | "UnetLoaderGGUF":
                return (i["unet_name"],)
            case "LoraLoader":
                return f"{i['model']}+{i['lora_name']}", i["clip"]
            case "ModelSamplingFlux":
                return (i["model"],)
            case "CLIPLoader" | "DualCLIPLoader" | "VAELoader" | "ControlNetLoader":
                return ("file",)
            case "CLIPTextEncode":
                return (i["text"],)
            case "CLIPTextEncodeSDXL":
                return (f"{i['text_g']}|{i['text_l']}",)
            case "CLIPTextEncodeFlux":
                return (f"{i['clip_l']}|{i['t5xxl']}",)
            case "TextEncodeQwenImageEditPlus":
                return (i["prompt"],)
            case "FluxGuidance":
                return (i["conditioning"],)
            case "ConditioningZeroOut":
                return ("",)
            case "ConditioningCombine":
                return (f"{i['conditioning_1']}&{i['conditioning_2']}",)
            case "ControlNetApplyAdvanced":
                return i["positive"], i["negative"]
            case "PrimitiveInt" | "PrimitiveStringMultiline":
                return (i["value"],)
            case "RandomNoise":
                return (i["noise_seed"],)
            case "KSamplerSelect":
                return (i["sampler_name"],)
            case "BasicScheduler":
                return (int(i["steps"]),)
            case "BasicGuider":
                return ((i["model"], i["conditioning"], ""),)
            case "CFGGuider":
                return ((i["model"], i["positive"], i["negative"]),)
            case "KSampler" | "KSamplerAdvanced":
                seed = int(i.get("seed", i.get("noise_seed", 0)))
                guide = (i["model"], i["positive"], i["negative"])
                return (self._draw(i["latent_image"], guide, seed, int(i["steps"])),)
            case "SamplerCustomAdvanced":
                drawn = self._draw(i["latent_image"], i["guider"], i["noise"], i["sigmas"])
                return drawn, drawn
            case "BreakWith":
                raise Broken(i["exception_type"], i["message"])
            case _:
                return self._compute_picture(kind, i)

    def _compute_picture(self, kind: str, i: Json) -> tuple[Any, ...]:
        match kind:
            case "EmptyLatentImage" | "EmptySD3LatentImage" | "EmptyHunyuanImageLatent":
                size = (int(i["width"]) // 8 * 8, int(i["height"]) // 8 * 8)
                return (Latent(size, int(i["batch_size"])),)
            case "SingleLatent":
                return (Latent((int(i["width"]), int(i["height"]))),)
            case "LatentUpscaleBy":
                return (i["samples"],)
            case "LoadImage":
                return self._load(i["image"])
            case "LoadImageMask":
                picture, inverted = self._load(i["image"])
                if i["channel"] == "alpha":
                    return (inverted,)
                band = {"red": 0, "green": 1, "blue": 2}[i["channel"]]
                return (picture[0].getchannel(band),)
            case "ImageScale":
                edges = (int(i["width"]), int(i["height"]))
                return ([each.resize(edges) for each in i["image"]],)
            case "VAEEncode":
                return (self._encode(i["pixels"][0]),)
            case "VAEEncodeForInpaint":
                return (replace(self._encode(i["pixels"][0]), mask=i["mask"]),)
            case "SetLatentNoiseMask":
                return (replace(i["samples"], mask=i["mask"]),)
            case "RepeatLatentBatch":
                return (replace(i["samples"], batch=i["samples"].batch * int(i["amount"])),)
            case "RepeatImageBatch":
                return (i["image"] * int(i["amount"]),)
            case "ImageCompositeMasked":
                # As many as the destination has: it decides.
                pairs = zip(i["destination"], i["source"] * len(i["destination"]), strict=False)
                return ([_composite(below, above, i["mask"]) for below, above in pairs],)
            case "VAEDecode":
                return (list(i["samples"].pictures),)
            case _:
                return ()

    def _load(self, name: str) -> tuple[list[Image.Image], Image.Image]:
        try:
            picture = self._open_input(name)
            picture.load()
        except OSError as error:
            raise Broken("PIL.UnidentifiedImageError", f"cannot read /srv/comfy/{name}") from error
        # Without transparency the mask is a small empty one.
        mask = Image.new("L", (64, 64), 0)
        if picture.mode in {"RGBA", "LA"}:
            mask = ImageChops.invert(picture.getchannel("A"))
        return [picture.convert("RGB")], mask

    def _encode(self, picture: Image.Image) -> Latent:
        width, height = (edge // 8 * 8 for edge in picture.size)
        left, top = (picture.width % 8) // 2, (picture.height % 8) // 2
        cut = picture.crop((left, top, left + width, top + height))
        return Latent((width, height), picture=cut)

    def _draw(self, latent: Latent, guide: tuple[str, str, str], seed: int, steps: int) -> Latent:
        model, prompt, negative = guide
        pictures = []
        for index in range(latent.batch):
            colour = colour_of(prompt, negative, seed, model, index)
            drawn = Image.new("RGB", latent.size, colour)
            if latent.picture is not None:
                drawn = Image.blend(latent.picture, drawn, 0.5)
            if latent.picture is not None and latent.mask is not None:
                drawn = _composite(latent.picture, drawn, latent.mask)
                # Encoding and decoding changes every pixel a little, what is kept included.
                drawn = drawn.point(lambda value: min(value + 1, 255))
            pictures.append(drawn)
        for step in range(1, steps + 1):
            self._sample(step, steps, pictures[0])
        return replace(latent, pictures=tuple(pictures))


def _composite(below: Image.Image, above: Image.Image, mask: Image.Image) -> Image.Image:
    whole = below.copy()
    whole.paste(above, (0, 0), mask.resize(above.size, Image.Resampling.NEAREST))
    return whole
