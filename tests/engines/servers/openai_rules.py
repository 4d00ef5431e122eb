"""What OpenAI accepts for which model, written down apart from our catalog."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tests.engines.servers.openai_faults import Fault, Refused

Json = dict[str, Any]

GPT_FIELDS = frozenset(
    [
        "model",
        "prompt",
        "n",
        "size",
        "quality",
        "background",
        "output_format",
        "output_compression",
        "moderation",
        "stream",
        "partial_images",
        "user",
        "safety_identifier",
    ]
)
DALL_E_FIELDS = frozenset(["model", "prompt", "n", "size", "quality", "response_format", "user"])
GPT_QUALITIES = frozenset({"auto", "low", "medium", "high"})


@dataclass(frozen=True)
class Family:
    """The vendor's rules for some models."""

    fields: frozenset[str]
    max_prompt: int
    max_n: int
    qualities: frozenset[str]
    #: None where any size within the vendor's limits is drawn.
    sizes: frozenset[str] | None


FAMILIES = {
    "dall-e-2": Family(
        DALL_E_FIELDS,
        1000,
        10,
        frozenset({"standard"}),
        frozenset({"256x256", "512x512", "1024x1024"}),
    ),
    "dall-e-3": Family(
        DALL_E_FIELDS | {"style"},
        4000,
        1,
        frozenset({"standard", "hd"}),
        frozenset({"1024x1024", "1792x1024", "1024x1792"}),
    ),
    "gpt-image-1": Family(
        GPT_FIELDS,
        32000,
        10,
        GPT_QUALITIES,
        frozenset({"auto", "1024x1024", "1536x1024", "1024x1536"}),
    ),
    "gpt-image-2": Family(GPT_FIELDS, 32000, 10, GPT_QUALITIES, None),
    "gpt-image-2.5": Family(GPT_FIELDS, 32000, 10, GPT_QUALITIES | {"xhigh", "max"}, None),
}

#: Each model, its family, and the day it is switched off.
MODELS: dict[str, tuple[str, str | None]] = {
    "dall-e-2": ("dall-e-2", "2026-05-12"),
    "dall-e-3": ("dall-e-3", "2026-05-12"),
    "gpt-image-1": ("gpt-image-1", "2026-10-23"),
    "gpt-image-1-mini": ("gpt-image-1", None),
    "gpt-image-1.5": ("gpt-image-1", None),
    "chatgpt-image-latest": ("gpt-image-1", None),
    "gpt-image-2": ("gpt-image-2", None),
    "gpt-image-2-2026-04-21": ("gpt-image-2", None),
    "gpt-image-2.5-sunburst": ("gpt-image-2.5", None),
    "gpt-image-2.5-sunburst-2026-09-08": ("gpt-image-2.5", None),
    "gpt-image-2.5-flare": ("gpt-image-2.5", None),
    "gpt-image-2.5-flare-2026-09-08": ("gpt-image-2.5", None),
    "gpt-image-2.6-sunburst": ("gpt-image-2", None),
    "gpt-image-2.6-flare": ("gpt-image-2", None),
}


#: Models that draw nothing, and are listed beside those that do.
WRITERS = ("gpt-5.2", "text-embedding-3-large", "whisper-1")

#: What the edits of each model take; those that are missing cannot edit.
EDIT_FIELDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "dall-e-2": DALL_E_FIELDS,
        **dict.fromkeys(
            [each for each, (family, _) in MODELS.items() if family.startswith("gpt-image")],
            GPT_FIELDS - {"moderation"},
        ),
        **dict.fromkeys(
            ["gpt-image-1", "gpt-image-1.5"], GPT_FIELDS - {"moderation"} | {"input_fidelity"}
        ),
    }
)


def check_rules(body: Json, *, is_edit: bool = False) -> None:
    """Refuse what the vendor refuses. Raises Refused."""
    model = body.get("model")
    if not isinstance(model, str) or model not in MODELS:
        raise Refused(Fault(400, message=f"The model '{model}' does not exist."), "model")
    if is_edit and model not in EDIT_FIELDS:
        raise Refused(Fault(400, "invalid_value", message=f"{model} cannot edit."), "model")
    family = FAMILIES[MODELS[model][0]]
    for name in body:
        if name not in (EDIT_FIELDS[model] if is_edit else family.fields):
            message = f"Unknown parameter: '{name}'."
            raise Refused(Fault(400, "unknown_parameter", message=message), name)
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise Refused(Fault(400, "missing_required_parameter"), "prompt")
    checks = {
        "prompt": len(prompt) <= family.max_prompt,
        "n": type(body.get("n", 1)) is int and 1 <= body.get("n", 1) <= family.max_n,
        "size": _is_size(body.get("size"), family),
        "quality": body.get("quality") in {None, *family.qualities},
        "background": body.get("background") in {None, "auto", "opaque", "transparent"},
        "output_format": body.get("output_format") in {None, "png", "jpeg", "webp"},
        "response_format": body.get("response_format") in {None, "url", "b64_json"},
        "input_fidelity": body.get("input_fidelity") in {None, "low", "high"},
        "stream": body.get("stream") in {None, True, False},
        "partial_images": body.get("partial_images", 0) in range(4),
    }
    for name, is_fine in checks.items():
        if not is_fine:
            message = f"Invalid value: {body.get(name)!r}."
            raise Refused(Fault(400, "invalid_value", message=message), name)
    if body.get("background") == "transparent" and body.get("output_format") == "jpeg":
        raise Refused(
            Fault(400, "invalid_value", message="jpeg is never transparent"), "background"
        )
    if body.get("stream") and body.get("n", 1) != 1:
        raise Refused(Fault(400, "invalid_value", message="Only one picture is streamed."), "n")
    if "partial_images" in body and not body.get("stream"):
        raise Refused(
            Fault(400, "invalid_value", message="There are none without a stream."),
            "partial_images",
        )


def _is_size(text: Any, family: Family) -> bool:
    if text is None or (text == "auto" and "background" in family.fields):
        return True
    if family.sizes is not None:
        return text in family.sizes
    width, height = (int(each) for each in text.split("x"))
    return (
        width % 16 == 0
        and height % 16 == 0
        and max(width, height) <= min(3840, 3 * min(width, height))
        and 655_360 <= width * height <= 8_294_400
    )


def listing() -> list[Json]:
    return [
        {
            "id": name,
            "object": "model",
            "created": 1_760_000_000,
            "owned_by": "system",
            "shutdown_date": shutdown,
        }
        for name, shutdown in [
            *((name, None) for name in WRITERS),
            *((name, shutdown) for name, (_, shutdown) in MODELS.items()),
        ]
    ]
