"""What Google accepts for which model, and what it draws, written down apart from our catalog."""

import base64
import binascii
import io
import re
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from tests.engines.servers.gemini_faults import Fault
from tests.engines.servers.stand_in import Json

#: The pixels of each ratio at `1K`.
OLD = {
    "1:1": (1024, 1024),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
}
THREE = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
LONG = {"1:4": (512, 2048), "4:1": (2048, 512), "1:8": (384, 3072), "8:1": (3072, 384)}
IMAGEN = {
    "1:1": (1024, 1024),
    "3:4": (896, 1280),
    "4:3": (1280, 896),
    "9:16": (768, 1408),
    "16:9": (1408, 768),
}
TIMES = {"512": 0.5, "1K": 1, "2K": 2, "4K": 4}


@dataclass(frozen=True)
class Family:
    """The vendor's rules for some models."""

    method: str
    pixels: dict[str, tuple[int, int]]
    #: What may be named; empty where even the only resolution may not.
    resolutions: tuple[str, ...]


FLASH_2_5 = Family("generateContent", OLD, ())
PRO = Family("generateContent", THREE, ("1K", "2K", "4K"))
FLASH_3_1 = Family("generateContent", THREE | LONG, ("512", "1K", "2K", "4K"))
FLASH_LITE = Family("generateContent", THREE | LONG, ("1K",))
BANANA = Family("generateContent", THREE | LONG, ("1K", "2K", "4K"))
IMAGEN_4 = Family("predict", IMAGEN, ("1K", "2K"))
IMAGEN_SMALL = Family("predict", IMAGEN, ())

MODELS = {
    "gemini-2.5-flash": None,
    "gemini-2.5-flash-image": FLASH_2_5,
    "gemini-3-pro-image": PRO,
    "gemini-3.1-flash-image": FLASH_3_1,
    "gemini-3.1-flash-lite-image": FLASH_LITE,
    "gemini-9-new-image": PRO,
    "gemini-embedding-2": None,
    "gemini-nano-banana-2.1": BANANA,
    "imagen-3.0-generate-002": IMAGEN_SMALL,
    "imagen-4.0-generate-001": IMAGEN_4,
    "imagen-4.0-fast-generate-001": IMAGEN_SMALL,
    "imagen-4.0-ultra-generate-001": IMAGEN_4,
    "veo-3": None,
}

CONFIG_FIELDS = frozenset(
    ["responseModalities", "imageConfig", "seed", "candidateCount", "temperature", "thinkingConfig"]
)
PREDICT_FIELDS = frozenset(
    [
        "sampleCount",
        "aspectRatio",
        "sampleImageSize",
        "personGeneration",
        "safetySetting",
        "includeRaiReason",
        "includeSafetyAttributes",
        "language",
        "guidanceScale",
        "outputOptions",
    ]
)


class Refused(Exception):
    """The vendor's rules are broken."""

    def __init__(self, message: str, param: str = "") -> None:
        super().__init__(message)
        details: list[Json] = []
        if param:
            violations = [{"field": param, "description": message}]
            kind = "type.googleapis.com/google.rpc.BadRequest"
            details = [{"@type": kind, "fieldViolations": violations}]
        self.fault = Fault(400, "INVALID_ARGUMENT", message, details)


@dataclass(frozen=True)
class Order:
    """What a call asks for, once it was found right."""

    prompt: str
    size: tuple[int, int]
    count: int = 1
    #: Whether it asks for pictures at all; some models only talk otherwise.
    wants_pictures: bool = True
    mime_type: str = "image/png"
    tells_reasons: bool = False
    #: The first picture to change, as it was sent.
    picture: bytes | None = None


def find(model: str, method: str, version: str) -> Family:
    """The rules for a model. Raises Refused as Google does for one it does not have."""
    family = MODELS.get(model)
    if family is None or family.method != method:
        message = (
            f"models/{model} is not found for API version {version}, or is not supported for"
            f" {method}. Call ModelService.ListModels to see the list of available models and their"
            " supported methods."
        )
        refused = Refused(message)
        refused.fault = Fault(404, "NOT_FOUND", message)
        raise refused
    return family


def read_content(body: Json, family: Family) -> Order:
    """Check a call of `generateContent`. Raises Refused."""
    body = camel(body)
    _known(body, {"contents", "generationConfig", "safetySettings", "systemInstruction"}, "")
    config = body.get("generationConfig", {})
    _known(config, CONFIG_FIELDS, "generation_config")
    parts = [part for each in body.get("contents", []) for part in each.get("parts", [])]
    prompt = " ".join(part["text"] for part in parts if "text" in part)
    if not prompt:
        raise Refused("* GenerateContentRequest.contents: contents is not specified", "contents")
    pictures = [_picture(part["inlineData"]) for part in parts if "inlineData" in part]
    if config.get("candidateCount", 1) != 1:
        raise Refused("Multiple candidates is not enabled for this model")
    seed = config.get("seed", 0)
    if type(seed) is not int or not -(2**31) <= seed < 2**31:
        raise Refused("Invalid value at 'generation_config.seed' (TYPE_INT32)", "seed")
    image = config.get("imageConfig", {})
    _known(image, {"aspectRatio", "imageSize"}, "generation_config.image_config")
    size = _pixels(family, image.get("aspectRatio"), image.get("imageSize"), "image_size")
    modalities = config.get("responseModalities", ["TEXT"])
    return Order(
        prompt,
        size,
        wants_pictures="IMAGE" in modalities,
        picture=pictures[0] if pictures else None,
    )


def read_prediction(body: Json, family: Family) -> Order:
    """Check a call of `predict`. Raises Refused."""
    body = camel(body)
    _known(body, {"instances", "parameters"}, "")
    instances = body.get("instances")
    instance = instances[0] if isinstance(instances, list) and instances else instances
    if not isinstance(instance, dict) or not instance.get("prompt"):
        raise Refused("`instances` must hold a prompt.", "instances")
    parameters = body.get("parameters", {})
    for name in ("negativePrompt", "seed", "addWatermark", "enhancePrompt"):
        if name in parameters:
            raise Refused(f"`{name}` isn't supported by this model.", name)
    _known(parameters, PREDICT_FIELDS, "parameters")
    count = parameters.get("sampleCount", 1)
    if type(count) is not int or not 1 <= count <= 4:
        raise Refused(f"sampleCount must be between 1 and 4 inclusive, got {count}", "sampleCount")
    size = _pixels(
        family, parameters.get("aspectRatio"), parameters.get("sampleImageSize"), "sampleImageSize"
    )
    kind = parameters.get("outputOptions", {}).get("mimeType", "image/png")
    if kind not in {"image/png", "image/jpeg"}:
        raise Refused(f"Unsupported output mime type {kind}", "mimeType")
    tells = bool(parameters.get("includeRaiReason"))
    return Order(instance["prompt"], size, count, mime_type=kind, tells_reasons=tells)


def camel(content: Json) -> Json:
    """The same with every field in camel case, as the vendor reads both."""
    if isinstance(content, list):
        return [camel(each) for each in content]
    if isinstance(content, dict):
        return {
            re.sub(r"_([a-z])", lambda match: match[1].upper(), key): camel(value)
            for key, value in content.items()
        }
    return content


def _known(content: Json, fields: frozenset[str] | set[str], place: str) -> None:
    for name in content:
        if name not in fields:
            where = f" at '{place}'" if place else ""
            raise Refused(
                f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.',
                place or name,
            )


def _picture(inline: Json) -> bytes:
    try:
        data = base64.b64decode(inline["data"], validate=True)
        Image.open(io.BytesIO(data)).verify()
    except (KeyError, binascii.Error, UnidentifiedImageError):
        raise Refused("Unable to process input image. Please retry or report.") from None
    if not inline.get("mimeType", "").startswith("image/"):
        raise Refused(f"Unsupported MIME type: {inline.get('mimeType')}")
    return data


def _pixels(
    family: Family, ratio: str | None, resolution: str | None, param: str
) -> tuple[int, int]:
    if ratio is not None and ratio not in family.pixels:
        allowed = ", ".join(family.pixels)
        raise Refused(f"aspect_ratio must be one of {allowed}, got {ratio}", "aspect_ratio")
    if resolution is not None and resolution not in family.resolutions:
        raise Refused(f"{param} {resolution} is not supported for this model", param)
    width, height = family.pixels[ratio or "1:1"]
    times = TIMES[resolution or "1K"]
    return int(width * times), int(height * times)


def listing() -> list[Json]:
    """Every model as it is listed."""
    methods = {"veo-3": ["predictLongRunning"], "gemini-embedding-2": ["embedContent"]}
    return [
        {
            "name": f"models/{model}",
            "version": "001",
            "displayName": model.replace("-", " ").title(),
            "inputTokenLimit": 32768,
            "supportedGenerationMethods": methods.get(
                model,
                [family.method]
                if family and family.method == "predict"
                else ["generateContent", "countTokens"],
            ),
        }
        for model, family in MODELS.items()
    ]
