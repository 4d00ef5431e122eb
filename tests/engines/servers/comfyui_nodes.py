"""The nodes that the stand-in for ComfyUI has, and what it refuses in a workflow."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.engines.servers.stand_in import Json

Spec = tuple[str, Json]

INT: Spec = ("INT", {})
FLOAT: Spec = ("FLOAT", {})
STRING: Spec = ("STRING", {})
SEED = ("INT", {"default": 0, "min": 0, "max": 2**64 - 1})
STEPS = ("INT", {"default": 20, "min": 1, "max": 10_000})
EDGE = ("INT", {"default": 512, "min": 16, "max": 16_384, "step": 8})
BATCH = ("INT", {"default": 1, "min": 1, "max": 4096})
SAMPLER_NAMES = ["euler", "euler_ancestral", "dpmpp_2m"]
SCHEDULERS = ["normal", "karras", "simple"]


@dataclass(frozen=True)
class NodeKind:
    """One class of nodes."""

    #: Name to type: a word for links, or a pair for values; `files:…` is a choice of files.
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...] = ()
    optional: Mapping[str, Any] = field(default_factory=dict)
    is_output: bool = False
    #: Whether choices are described in the newer of the two forms.
    new_form: bool = False


MODEL, CLIP, VAE, COND, LATENT, IMAGE, MASK = (
    "MODEL",
    "CLIP",
    "VAE",
    "CONDITIONING",
    "LATENT",
    "IMAGE",
    "MASK",
)

KINDS: dict[str, NodeKind] = {
    "CheckpointLoaderSimple": NodeKind({"ckpt_name": "files:checkpoints"}, (MODEL, CLIP, VAE)),
    "UNETLoader": NodeKind(
        {"unet_name": "files:diffusion_models", "weight_dtype": STRING}, (MODEL,)
    ),
    "UnetLoaderGGUF": NodeKind({"unet_name": "files:unet_gguf"}, (MODEL,), new_form=True),
    "CLIPLoader": NodeKind({"clip_name": STRING, "type": STRING}, (CLIP,)),
    "DualCLIPLoader": NodeKind(
        {"clip_name1": STRING, "clip_name2": STRING, "type": STRING}, (CLIP,)
    ),
    "VAELoader": NodeKind({"vae_name": STRING}, (VAE,)),
    "LoraLoader": NodeKind(
        {
            "model": MODEL,
            "clip": CLIP,
            "lora_name": STRING,
            "strength_model": FLOAT,
            "strength_clip": FLOAT,
        },
        (MODEL, CLIP),
    ),
    "ModelSamplingFlux": NodeKind(
        {"model": MODEL, "max_shift": FLOAT, "base_shift": FLOAT, "width": INT, "height": INT},
        (MODEL,),
    ),
    "CLIPTextEncode": NodeKind({"text": STRING, "clip": CLIP}, (COND,)),
    "CLIPTextEncodeSDXL": NodeKind(
        {
            "clip": CLIP,
            "text_g": STRING,
            "text_l": STRING,
            "width": INT,
            "height": INT,
            "crop_w": INT,
            "crop_h": INT,
            "target_width": INT,
            "target_height": INT,
        },
        (COND,),
    ),
    "CLIPTextEncodeFlux": NodeKind(
        {"clip": CLIP, "clip_l": STRING, "t5xxl": STRING, "guidance": FLOAT}, (COND,)
    ),
    "TextEncodeQwenImageEditPlus": NodeKind(
        {"clip": CLIP, "prompt": STRING},
        (COND,),
        {"vae": VAE, "image1": IMAGE, "image2": IMAGE, "image3": IMAGE},
    ),
    "FluxGuidance": NodeKind({"conditioning": COND, "guidance": FLOAT}, (COND,)),
    "ConditioningZeroOut": NodeKind({"conditioning": COND}, (COND,)),
    "ConditioningCombine": NodeKind({"conditioning_1": COND, "conditioning_2": COND}, (COND,)),
    "ControlNetLoader": NodeKind({"control_net_name": STRING}, ("CONTROL_NET",)),
    "ControlNetApplyAdvanced": NodeKind(
        {
            "positive": COND,
            "negative": COND,
            "control_net": "CONTROL_NET",
            "image": IMAGE,
            "strength": FLOAT,
            "start_percent": FLOAT,
            "end_percent": FLOAT,
        },
        (COND, COND),
        {"vae": VAE},
    ),
    "EmptyLatentImage": NodeKind({"width": EDGE, "height": EDGE, "batch_size": BATCH}, (LATENT,)),
    "EmptySD3LatentImage": NodeKind(
        {"width": EDGE, "height": EDGE, "batch_size": BATCH}, (LATENT,), new_form=True
    ),
    "EmptyHunyuanImageLatent": NodeKind(
        {"width": EDGE, "height": EDGE, "batch_size": BATCH}, (LATENT,), new_form=True
    ),
    "SingleLatent": NodeKind({"width": EDGE, "height": EDGE}, (LATENT,)),
    "LatentUpscaleBy": NodeKind({"samples": LATENT, "scale_by": FLOAT}, (LATENT,)),
    "LoadImage": NodeKind({"image": "upload"}, (IMAGE, MASK)),
    "LoadImageMask": NodeKind({"image": "upload", "channel": STRING}, (MASK,)),
    "ImageScale": NodeKind(
        {
            "image": IMAGE,
            "upscale_method": STRING,
            "width": INT,
            "height": INT,
            "crop": STRING,
        },
        (IMAGE,),
    ),
    "VAEEncode": NodeKind({"pixels": IMAGE, "vae": VAE}, (LATENT,)),
    "VAEEncodeForInpaint": NodeKind(
        {"pixels": IMAGE, "vae": VAE, "mask": MASK, "grow_mask_by": INT}, (LATENT,)
    ),
    "SetLatentNoiseMask": NodeKind({"samples": LATENT, "mask": MASK}, (LATENT,)),
    "RepeatLatentBatch": NodeKind(
        {"samples": LATENT, "amount": ("INT", {"default": 1, "min": 1, "max": 64})}, (LATENT,)
    ),
    "RepeatImageBatch": NodeKind({"image": IMAGE, "amount": BATCH}, (IMAGE,)),
    "ImageCompositeMasked": NodeKind(
        {"destination": IMAGE, "source": IMAGE, "x": INT, "y": INT, "resize_source": "BOOLEAN"},
        (IMAGE,),
        {"mask": MASK},
    ),
    "KSampler": NodeKind(
        {
            "model": MODEL,
            "seed": SEED,
            "steps": STEPS,
            "cfg": FLOAT,
            "sampler_name": SAMPLER_NAMES,
            "scheduler": SCHEDULERS,
            "positive": COND,
            "negative": COND,
            "latent_image": LATENT,
            "denoise": FLOAT,
        },
        (LATENT,),
    ),
    "KSamplerAdvanced": NodeKind(
        {
            "model": MODEL,
            "add_noise": STRING,
            "noise_seed": SEED,
            "steps": STEPS,
            "cfg": FLOAT,
            "sampler_name": SAMPLER_NAMES,
            "scheduler": SCHEDULERS,
            "positive": COND,
            "negative": COND,
            "latent_image": LATENT,
            "start_at_step": INT,
            "end_at_step": INT,
            "return_with_leftover_noise": STRING,
        },
        (LATENT,),
    ),
    "RandomNoise": NodeKind({"noise_seed": SEED}, ("NOISE",)),
    "KSamplerSelect": NodeKind({"sampler_name": SAMPLER_NAMES}, ("SAMPLER",)),
    "BasicScheduler": NodeKind(
        {"model": MODEL, "scheduler": SCHEDULERS, "steps": STEPS, "denoise": FLOAT}, ("SIGMAS",)
    ),
    "BasicGuider": NodeKind({"model": MODEL, "conditioning": COND}, ("GUIDER",)),
    "CFGGuider": NodeKind(
        {"model": MODEL, "positive": COND, "negative": COND, "cfg": FLOAT}, ("GUIDER",)
    ),
    "SamplerCustomAdvanced": NodeKind(
        {
            "noise": "NOISE",
            "guider": "GUIDER",
            "sampler": "SAMPLER",
            "sigmas": "SIGMAS",
            "latent_image": LATENT,
        },
        (LATENT, LATENT),
    ),
    "VAEDecode": NodeKind({"samples": LATENT, "vae": VAE}, (IMAGE,)),
    "PrimitiveInt": NodeKind({"value": INT}, ("INT",)),
    "PrimitiveStringMultiline": NodeKind({"value": STRING}, ("STRING",)),
    "SaveImage": NodeKind({"images": IMAGE, "filename_prefix": STRING}, is_output=True),
    "PreviewImage": NodeKind({"images": IMAGE}, is_output=True),
    "SaveImageWebsocket": NodeKind({"images": IMAGE}, is_output=True),
    # Of add-ons: neither leaves pictures under `images`.
    "SaveVideo": NodeKind({"images": IMAGE, "filename_prefix": STRING}, is_output=True),
    # An add-on that fails in a way of its own.
    "BreakWith": NodeKind(
        {"latent": LATENT, "exception_type": STRING, "message": STRING}, (LATENT,)
    ),
}

Files = Mapping[str, list[str]]


def object_info(kind: str, files: Files) -> Json:
    """What `/object_info/…` says of one class; nothing of one that is unknown."""
    if kind not in KINDS:
        return {}
    node = KINDS[kind]

    def group(inputs: Mapping[str, Any]) -> Json:
        return {name: _spec(node, spec, files) for name, spec in inputs.items()}

    return {
        kind: {
            "input": {"required": group(node.inputs), "optional": group(node.optional)},
            "input_order": {"required": list(node.inputs)},
            "output": list(node.outputs),
            "output_is_list": [False] * len(node.outputs),
            "output_name": list(node.outputs),
            "name": kind,
            "display_name": kind,
            "category": "stand-in",
            "output_node": node.is_output,
        }
    }


def _spec(node: NodeKind, spec: Any, files: Files) -> Json:
    choices = _choices(spec, files)
    if choices is not None:
        new = ["COMBO", {"options": choices, "multiselect": False}]
        return new if node.new_form else [choices, {}]
    return list(spec) if isinstance(spec, tuple) else [spec]


def _choices(spec: Any, files: Files) -> list[str] | None:
    if isinstance(spec, list):
        return spec
    if isinstance(spec, str) and spec.startswith("files:"):
        return files.get(spec.removeprefix("files:"), [])
    return files["input"] if spec == "upload" else None


class Refused(Exception):
    """A 400: nothing of the workflow runs."""

    def __init__(self, error: Json, node_errors: Json | None = None) -> None:
        super().__init__(error["message"])
        self.body = {"error": error, "node_errors": node_errors or {}}


def validate(graph: Any, files: Files, *, is_old: bool) -> tuple[list[str], Json]:
    """The outputs that can run, and what is wrong with the others. Raises Refused."""
    for node_id, node in graph.items():
        if "class_type" not in node:
            text = "Cannot execute because a node is missing the class_type property."
            raise Refused(_error("invalid_prompt", text, f"Node ID '#{node_id}'"))
        kind = node["class_type"]
        if kind not in KINDS:
            text = f"Cannot execute because node {kind} does not exist."
            if is_old:
                raise Refused(_error("invalid_prompt", text, f"Node ID '#{node_id}'"))
            extra = {"node_id": node_id, "class_type": kind, "node_title": kind}
            raise Refused(
                _error("missing_node_type", f"Node '{kind}' not found.", f"#{node_id}", extra)
            )
    outputs = [each for each, node in graph.items() if KINDS[node["class_type"]].is_output]
    if not outputs:
        raise Refused(_error("prompt_no_outputs", "Prompt has no outputs"))
    node_errors: Json = {}
    good = []
    for output in outputs:
        faults = dict(_faults(graph, output, files, set()))
        if not faults:
            good.append(output)
        for node_id, errors in faults.items():
            entry = node_errors.setdefault(
                node_id,
                {
                    "errors": errors,
                    "dependent_outputs": [],
                    "class_type": graph[node_id]["class_type"],
                },
            )
            entry["dependent_outputs"].append(output)
    if not good:
        text = "Prompt outputs failed validation"
        raise Refused(_error("prompt_outputs_failed_validation", text), node_errors)
    return good, node_errors


def _faults(
    graph: Json, node_id: str, files: Files, seen: set[str]
) -> Iterator[tuple[str, list[Json]]]:
    if node_id in seen:
        return
    seen.add(node_id)
    node = graph[node_id]
    kind = KINDS[node["class_type"]]
    errors = []
    for name, spec in {**kind.inputs, **kind.optional}.items():
        value = node["inputs"].get(name)
        if value is None:
            if name in kind.inputs:
                errors.append(
                    _error("required_input_missing", "Required input is missing", name, _on(name))
                )
        elif isinstance(value, list):
            source, slot = value
            if source not in graph:
                message = "Exception when validating node"
                errors.append(_error("exception_during_validation", message, f"'{source}'"))
                continue
            offered = KINDS[graph[source]["class_type"]].outputs
            wanted = spec[0] if isinstance(spec, tuple) else spec
            if offered[slot] != wanted:
                details = f"{name}, received_type({offered[slot]}) mismatch input_type({wanted})"
                message = "Return type mismatch between linked nodes"
                errors.append(_error("return_type_mismatch", message, details, _on(name)))
            yield from _faults(graph, source, files, seen)
        else:
            errors += _value_faults(name, spec, value, files)
    if errors:
        yield node_id, errors


def _value_faults(name: str, spec: Any, value: Any, files: Files) -> list[Json]:
    choices = _choices(spec, files)
    if spec == "upload":
        if value.removesuffix(" [input]") in files["input"]:
            return []
        details = f"image - Invalid image file: {value}"
        return [_error("custom_validation_failed", "Custom validation failed", details, _on(name))]
    if choices is not None:
        if value in choices:
            return []
        details = f"{name}: '{value}' not in {choices}"
        return [_error("value_not_in_list", "Value not in list", details, _on(name, value))]
    if not isinstance(spec, tuple) or spec[0] not in {"INT", "FLOAT"}:
        return []
    try:
        number = float(value)
    except (TypeError, ValueError):
        message = f"Failed to convert an input value to a {spec[0]} value"
        return [_error("invalid_input_type", message, f"{name}, {value}", _on(name, value))]
    least, most = spec[1].get("min"), spec[1].get("max")
    if least is not None and number < least:
        message = f"Value {value} smaller than min of {least}"
        return [_error("value_smaller_than_min", message, name, _on(name, value))]
    if most is not None and number > most:
        message = f"Value {value} bigger than max of {most}"
        return [_error("value_bigger_than_max", message, name, _on(name, value))]
    return []


def _on(name: str, received: Any = None) -> Json:
    extra = {"input_name": name, "input_config": None}
    return extra if received is None else {**extra, "received_value": received}


def _error(kind: str, message: str, details: str = "", extra: Json = None) -> Json:
    return {"type": kind, "message": message, "details": details, "extra_info": extra or {}}
