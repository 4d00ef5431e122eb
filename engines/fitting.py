"""Does a request fit a model: the one validator.

What a model cannot honour is dropped or adjusted with a warning, or refused when the caller asked
for that (`strict`). Nothing is dropped silently.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from darkroom.domain import Capabilities, ImageRequest, MaskSupport, Model
from darkroom.errors import InvalidRequest, Unsupported
from engines.sizes import nearest_size


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A request that a driver may send as it is, and what had to change for that."""

    request: ImageRequest
    #: One sentence each, which begins with the field it is about.
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Misfit:
    """One parameter that the model cannot honour."""

    #: The field of `ImageRequest`, and the same as callers know it.
    field: str
    param: str
    reason: str
    #: What takes the place of the value, and how to say so.
    value: Any = None
    remedy: str = "it was left out"


def fit(request: ImageRequest, model: Model, *, strict: bool = False) -> Fitted:
    """Make `request` one that `model` can draw.

    Raises InvalidRequest when the prompt is too long or there are too many pictures to change, and,
    if `strict`, Unsupported for anything that would have to change.
    """
    capabilities = model.capabilities
    length = len(request.prompt)
    if length > capabilities.max_prompt_chars:
        raise InvalidRequest(
            f"The prompt has {length} characters, but {model.id} takes at most"
            f" {capabilities.max_prompt_chars}: shorten it.",
            param="prompt",
        )
    most = capabilities.max_input_images
    if len(request.images) > most:
        raise InvalidRequest(
            f"{model.id} changes at most {most} pictures at once, not {len(request.images)}: send"
            " fewer, or choose another model.",
            param="image",
        )

    request = _without_hollow_choices(request, capabilities)
    misfits = [*_parameters(request, model), *_choices(request, model)]
    fitted = replace(request, **{each.field: each.value for each in misfits})
    # Only now is it known which file type the picture gets.
    misfits += _transparency(fitted, model)

    if strict and misfits:
        problems = tuple((each.param, f"{each.reason}.") for each in misfits)
        param, reason = problems[0]
        raise Unsupported(f"{param}: {reason}", param=param, problems=problems)
    return Fitted(
        request=replace(request, **{each.field: each.value for each in misfits}),
        warnings=tuple(f"{each.param}: {each.reason}; {each.remedy}." for each in misfits),
    )


def _without_hollow_choices(request: ImageRequest, capabilities: Capabilities) -> ImageRequest:
    """Drop what asks for nothing: empty words, and `auto` where the model has no such word."""
    hollow_quality = request.quality == "auto" and "auto" not in capabilities.qualities
    hollow_background = request.background == "auto" and "auto" not in capabilities.backgrounds
    return replace(
        request,
        negative_prompt=request.negative_prompt or None,
        quality=None if hollow_quality else request.quality,
        background=None if hollow_background else request.background,
    )


def _parameters(request: ImageRequest, model: Model) -> Iterator[_Misfit]:
    capabilities = model.capabilities
    if request.count > capabilities.max_count:
        most = capabilities.max_count
        yield _Misfit(
            field="count",
            param="n",
            reason=f"{model.id} draws at most {most} pictures per request, not {request.count}",
            value=most,
            remedy=f"{most} are drawn",
        )
    if request.size is not None and not capabilities.sizes:
        yield _unknown("size", f"{model.id} has no size to choose")
    elif request.size is not None:
        nearest = nearest_size(request.size, capabilities.sizes)
        if nearest != request.size:
            yield _Misfit(
                field="size",
                param="size",
                reason=f"{model.id} cannot draw {request.size}, the nearest it can is {nearest}",
                value=nearest,
                remedy=f"{nearest} is drawn",
            )
    if request.negative_prompt is not None and not capabilities.negative_prompt:
        yield _unknown("negative_prompt", f"{model.id} has no negative prompt")
    if request.seed is not None and not capabilities.seed:
        yield _unknown("seed", f"{model.id} takes no seed")
    elif request.seed is not None and request.seed > capabilities.max_seed:
        most = capabilities.max_seed
        yield _Misfit(
            field="seed",
            param="seed",
            reason=f"{model.id} takes seeds up to {most}, not {request.seed}",
            value=request.seed % (most + 1),
            remedy=f"{request.seed % (most + 1)} is used",
        )
    if request.steps is not None:
        if capabilities.max_steps is None:
            yield _unknown("steps", f"{model.id} has no steps to choose")
        elif request.steps > capabilities.max_steps:
            most = capabilities.max_steps
            yield _Misfit(
                field="steps",
                param="steps",
                reason=f"{model.id} takes at most {most} steps, not {request.steps}",
                value=most,
                remedy=f"{most} are used",
            )
    if request.mask is not None and capabilities.mask is MaskSupport.NONE:
        yield _unknown("mask", f"{model.id} takes no mask")
    elif request.mask is not None and capabilities.mask is MaskSupport.APPROXIMATE:
        yield _Misfit(
            field="mask",
            param="mask",
            reason=f"{model.id} takes a mask only as a hint",
            value=request.mask,
            remedy="it may repaint more or less",
        )


def _choices(request: ImageRequest, model: Model) -> Iterator[_Misfit]:
    capabilities = model.capabilities
    for param, accepted in (
        ("quality", capabilities.qualities),
        ("output_format", capabilities.output_formats),
        ("background", capabilities.backgrounds),
    ):
        asked = getattr(request, param)
        if asked is None or asked in accepted:
            continue
        if accepted:
            yield _unknown(param, f"{model.id} takes {_either(accepted)}, not {asked!r}")
        else:
            yield _unknown(param, f"{model.id} has no {param.replace('_', ' ')} to choose")


def _transparency(request: ImageRequest, model: Model) -> Iterator[_Misfit]:
    if request.background == "transparent" and request.output_format == "jpeg":
        yield _Misfit(
            field="background",
            param="background",
            reason="a jpeg cannot be transparent, a png or webp can",
            value="opaque" if "opaque" in model.capabilities.backgrounds else None,
            remedy="the picture is opaque",
        )


def _unknown(param: str, reason: str) -> _Misfit:
    return _Misfit(field=param, param=param, reason=reason)


def _either(words: tuple[str, ...]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
