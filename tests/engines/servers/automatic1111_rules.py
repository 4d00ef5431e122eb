"""What an AUTOMATIC1111 server has and accepts, written down apart from our driver."""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

SAMPLERS = ("DPM++ 2M", "DPM++ SDE", "Euler a", "Euler", "Heun", "DDIM", "UniPC", "LCM")
#: Name and label.
SCHEDULERS = (
    ("automatic", "Automatic"),
    ("karras", "Karras"),
    ("exponential", "Exponential"),
    ("sgm_uniform", "SGM Uniform"),
)

OPTIONS: Json = {
    "samples_format": "png",
    "return_grid": True,
    "return_mask": False,
    "return_mask_composite": False,
    "sd_vae": "Automatic",
    "CLIP_stop_at_last_layers": 1,
}

#: The API's own defaults, which are not those of the web interface.
DEFAULTS: Json = {
    "prompt": "",
    "negative_prompt": "",
    "seed": -1,
    "subseed_strength": 0,
    "sampler_name": None,
    "sampler_index": "Euler",
    "scheduler": None,
    "steps": 50,
    "cfg_scale": 7.0,
    "width": 512,
    "height": 512,
    "batch_size": 1,
    "n_iter": 1,
    "override_settings": None,
    "override_settings_restore_afterwards": True,
    "force_task_id": None,
    "script_name": None,
    "alwayson_scripts": {},
    "send_images": True,
    "save_images": False,
    "enable_hr": False,
    "hr_scale": 2.0,
    "hr_upscaler": None,
    "hr_additional_modules": None,
}
EDIT_DEFAULTS: Json = {
    "init_images": None,
    "mask": None,
    "denoising_strength": 0.75,
    "resize_mode": 0,
    "inpainting_fill": 0,
    "inpaint_full_res": True,
    "inpainting_mask_invert": 0,
    "mask_blur": 4,
}

WHOLE_NUMBERS = ("seed", "steps", "width", "height", "batch_size", "n_iter", "resize_mode")
NUMBERS = ("cfg_scale", "denoising_strength", "hr_scale")
UPSCALERS = ("Latent", "Lanczos", "None")


@dataclass(frozen=True)
class Checkpoint:
    """One model file. Its hash is unknown until it is first loaded, unless it was before."""

    file: str
    short_hash: str
    is_hashed: bool = True

    @property
    def name(self) -> str:
        return self.file.rpartition(".")[0].replace("/", "_")

    @property
    def stem(self) -> str:
        """What the server calls it after drawing."""
        return self.file.rpartition("/")[2].rpartition(".")[0]

    @property
    def title(self) -> str:
        return f"{self.file} [{self.short_hash}]" if self.is_hashed else self.file

    @property
    def aliases(self) -> frozenset[str]:
        """What `override_settings` may call it, exactly."""
        found = {self.file, self.name, self.stem, self.title}
        return frozenset(found | {self.short_hash} if self.is_hashed else found)

    def listing(self) -> Json:
        known = self.short_hash if self.is_hashed else None
        return {
            "title": self.title,
            "model_name": self.name,
            "hash": known,
            "sha256": known and known * 6 + "0000",
            "filename": f"/srv/webui/models/Stable-diffusion/{self.file}",
            "config": None,
        }


CHECKPOINTS = (
    Checkpoint("dreamscape.safetensors", "7600e25558"),
    Checkpoint("sdxl/realist.safetensors", "ee787f6fec"),
    Checkpoint("anime.ckpt", "a1b2c3d4e5", is_hashed=False),
)


@dataclass
class Fault(Exception):
    """The server answers with an error. Forge writes it in another form."""

    status: int
    #: The class of the exception, and what it says.
    exception: str = "HTTPException"
    text: str = ""
    #: Faulty fields, in the framework's own form.
    fields: list[Json] = field(default_factory=list)

    def body(self, *, is_forge: bool) -> Json:
        if self.fields:
            return {"detail": self.fields}
        is_raised = self.exception == "HTTPException"
        if is_forge and is_raised:
            return {"detail": self.text}
        text_key = "message" if is_forge else "errors"
        return {
            "error": self.exception,
            "detail": self.text if is_raised else "",
            "body": "",
            text_key: "" if is_raised else self.text,
        }


#: What the next run can be made to do instead of ending well.
FAULTS = {
    "out_of_memory": Fault(500, "OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB"),
    "nans": Fault(500, "NansException", "A tensor with NaNs was produced in Unet."),
    "cuda": Fault(500, "RuntimeError", "CUDA error: an illegal memory access was encountered"),
    "broken": Fault(500, "RuntimeError", "expected scalar type Half but found Float"),
    "type_error": Fault(500, "TypeError", "'NoneType' object is not iterable"),
    "overflow": Fault(500, "ValueError", "Overflow when unpacking long long"),
    "frozen": Fault(500, "AssertionError", "changing settings is disabled"),
    "no_requests": Fault(500, text="Requests not allowed"),
    "leaky": Fault(500, "RuntimeError", "cannot open /srv/webui/models/x.pt with {auth}"),
}


def checked(body: Any, *, is_edit: bool) -> Json:
    """The body with all defaults, as the framework accepts it. Raises Fault."""
    if not isinstance(body, dict):
        raise Fault(422, fields=[_fault(["body"], "value is not a valid dict", "type_error.dict")])
    faults = []
    for name in WHOLE_NUMBERS:
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not _is_number(value, int)):
            faults.append(
                _fault(["body", name], "value is not a valid integer", "type_error.integer")
            )
    for name in NUMBERS:
        if body.get(name) is not None and not _is_number(body[name], float):
            faults.append(_fault(["body", name], "value is not a valid float", "type_error.float"))
    if faults:
        raise Fault(422, fields=faults)
    # Unknown fields are ignored.
    known = DEFAULTS | (EDIT_DEFAULTS if is_edit else {})
    return known | {name: value for name, value in body.items() if name in known}


def check_drawable(body: Json) -> None:
    """Fail as the server fails only when it draws, always with 500. Raises Fault."""
    prompt, seed = body["prompt"], body["seed"]
    if prompt is None:
        raise Fault(500, "AssertionError", "")
    if body["steps"] == 0:
        raise Fault(500, "ZeroDivisionError", "integer division or modulo by zero")
    if body["steps"] < 0:
        raise Fault(500, "RuntimeError", "number of steps must be non-negative")
    if min(body["width"], body["height"]) < 8:
        raise Fault(500, "RuntimeError", "Kernel size can't be greater than actual input size")
    if seed >= 2**63:
        raise Fault(500, "ValueError", "Overflow when unpacking long long")
    if body["batch_size"] < 1:
        raise Fault(500, "IndexError", "list index out of range")
    if body["enable_hr"] and body["hr_upscaler"] not in {None, *UPSCALERS}:
        raise Fault(500, "Exception", f"could not find upscaler named {body['hr_upscaler']}")


def chosen_sampler(body: Json) -> str:
    """Which sampler really draws: an unknown one is silently replaced by the first."""
    name = body["sampler_name"] or body["sampler_index"]
    for scheduler in SCHEDULERS:
        for ending in scheduler:
            name = name.removesuffix(f" {ending}")
    return name if name in SAMPLERS else SAMPLERS[0]


def _is_number(value: Any, kind: type[int] | type[float]) -> bool:
    """Whether the framework makes a number of it; it also takes text like `"20"`."""
    try:
        kind(value)
    except (TypeError, ValueError):
        return False
    return True


def _fault(place: list[Any], message: str, kind: str) -> Json:
    return {"loc": place, "msg": message, "type": kind}
