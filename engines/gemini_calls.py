"""What is sent to Google's two methods that draw, for a fitted request.

`generateContent` is what Gemini models speak: one picture per call, and pictures may go in.
`predict` was Imagen's; Google switched it off, and compatible servers still have it.
"""

from dataclasses import replace
from enum import StrEnum
from typing import Any

import pybase64

from darkroom.domain import Capabilities, ImageRequest, InputImage, MaskSupport, Size
from engines.base import Task
from engines.gemini_sizes import (
    CONTENT_RATIOS,
    DEFAULT_RESOLUTION,
    PREDICT_RATIOS,
    frame_of,
)

#: `predict` draws no more pictures per call.
MOST_SAMPLES = 4

MASK_NOTE = (
    "The second image is a mask for the first one. Change the first image only where the mask is"
    " white, and keep it exactly as it is where the mask is black."
)


class Method(StrEnum):
    """How a model is called."""

    GENERATE_CONTENT = "generateContent"
    PREDICT = "predict"


def carried(capabilities: Capabilities, method: Method) -> Capabilities:
    """What is left of a model's capabilities when it is called by `method`."""
    can_see = method is Method.GENERATE_CONTENT
    return replace(
        capabilities,
        negative_prompt=False,
        max_steps=None,
        qualities=(),
        backgrounds=(),
        seed=capabilities.seed and can_see,
        output_formats=() if can_see else capabilities.output_formats,
        max_input_images=capabilities.max_input_images if can_see else 0,
        mask=MaskSupport.APPROXIMATE
        if can_see and capabilities.mask is not MaskSupport.NONE
        else MaskSupport.NONE,
    )


def batches(method: Method, request: ImageRequest) -> list[ImageRequest]:
    """One request per call, which asks for as many pictures as a call draws.

    Each call has a seed of its own, because the same seed would draw the same picture.
    """
    most = MOST_SAMPLES if method is Method.PREDICT else 1
    return [
        replace(
            request,
            count=min(most, request.count - start),
            seed=None if request.seed is None else (request.seed + start) % 2**31,
        )
        for start in range(0, request.count, most)
    ]


def body_for(method: Method, task: Task, request: ImageRequest) -> dict[str, Any]:
    """The body of one call of `task`, for the batch `request`."""
    if method is Method.PREDICT:
        return _prediction(request)
    return _content(task, request)


def _content(task: Task, request: ImageRequest) -> dict[str, Any]:
    text, pictures = request.prompt, [_inline(each) for each in task.images]
    if task.mask is not None:
        text = f"{text}\n\n{MASK_NOTE}"
        pictures.insert(1, _part(task.mask, "image/png"))
    # Without the modalities some models only talk, and without text none can say why it does not
    # draw.
    config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
    if request.size is not None:
        config["imageConfig"] = _frame(request.size, CONTENT_RATIOS, "imageSize")
    if request.seed is not None:
        config["seed"] = request.seed
    return {
        "contents": [{"role": "user", "parts": [{"text": text}, *pictures]}],
        "generationConfig": config,
    }


def _prediction(request: ImageRequest) -> dict[str, Any]:
    # Without the last one a filtered picture is missing without a word.
    parameters: dict[str, Any] = {"sampleCount": request.count, "includeRaiReason": True}
    if request.size is not None:
        parameters |= _frame(request.size, PREDICT_RATIOS, "sampleImageSize")
    if request.output_format is not None:
        parameters["outputOptions"] = {"mimeType": f"image/{request.output_format}"}
    return {"instances": [{"prompt": request.prompt}], "parameters": parameters}


def _frame(size: Size, ratios: tuple[str, ...], resolution_field: str) -> dict[str, str]:
    """The fields for a size. The usual resolution is left out: some models know no other."""
    frame = frame_of(size, ratios)
    fields = {"aspectRatio": frame.ratio}
    if frame.resolution != DEFAULT_RESOLUTION:
        fields[resolution_field] = frame.resolution
    return fields


def _inline(image: InputImage) -> dict[str, Any]:
    return _part(image.data, image.content_type)


def _part(data: bytes, content_type: str) -> dict[str, Any]:
    encoded = pybase64.b64encode_as_string(data)
    return {"inlineData": {"mimeType": content_type, "data": encoded}}
