"""May an account ask for this: the one judge of models, sizes, numbers and steps.

What is beyond a limit is refused, never cut to it. `engines.fitting` says what a model can do; this
says what an account may do with it.
"""

from collections.abc import Iterable, Sequence

from darkroom.domain import ImageRequest, Limits, Model, Size
from darkroom.errors import InvalidRequest, ModelNotAllowed

#: How many patterns a refusal lists.
MOST_LISTED = 10


def refuse_model(full_id: str, limits: Limits) -> None:
    """Raises ModelNotAllowed that says which models the account may use."""
    if limits.allow_model(full_id):
        return
    raise ModelNotAllowed(f"Your account may not use {full_id}. {_allowed(limits)}")


def first_allowed(models: Iterable[Model], limits: Limits) -> Model:
    """The one an account uses that named none. Raises ModelNotAllowed."""
    for each in models:
        if limits.allow_model(each.full_id):
            return each
    raise ModelNotAllowed(f"Your account may use no model offered for this. {_allowed(limits)}")


def refuse_beyond(request: ImageRequest, limits: Limits) -> None:
    """Raises InvalidRequest that names the field and how much the account may ask for.

    A size that is left to the model is none to judge; see `refuse_open_size`.
    """
    if limits.max_count is not None and request.count > limits.max_count:
        raise _beyond("n", f"at most {limits.max_count} pictures in one request", request.count)
    if limits.max_steps is not None and (request.steps or 0) > limits.max_steps:
        raise _beyond("steps", f"at most {limits.max_steps} steps", request.steps)
    if request.size is not None and not limits.allow_size(request.size):
        raise _beyond("size", _sizes(limits), request.size)


def refuse_open_size(request: ImageRequest, model: Model, limits: Limits) -> None:
    """Raises InvalidRequest when the model chooses the size and may choose one beyond the limit."""
    if request.size is not None or (limits.max_size is None and limits.max_pixels is None):
        return
    sizes = model.capabilities.sizes
    known: Sequence[Size] = sizes if isinstance(sizes, Sequence) else ()
    if known and all(limits.allow_size(each) for each in known):
        return
    remedy = "choose another model" if isinstance(sizes, Sequence) and not known else "name a size"
    raise InvalidRequest(
        f"size: Your account may ask for {_sizes(limits)}, and {model.full_id} would choose the"
        f" size by itself: {remedy}.",
        param="size",
    )


def _beyond(param: str, allowed: str, asked: object) -> InvalidRequest:
    return InvalidRequest(
        f"{param}: Your account may ask for {allowed}, not {asked}: ask for less, or ask an admin"
        " for more.",
        param=param,
    )


def _sizes(limits: Limits) -> str:
    parts = [
        *((f"{limits.max_size} pixels",) if limits.max_size else ()),
        *((f"{limits.max_pixels:,} pixels in all",) if limits.max_pixels else ()),
    ]
    return f"pictures of at most {' and '.join(parts)}"


def _allowed(limits: Limits) -> str:
    patterns = limits.models or ()
    if not patterns:
        return "It may use none: ask an admin."
    more = f" and {len(patterns) - MOST_LISTED} more" if len(patterns) > MOST_LISTED else ""
    return f"It may use {', '.join(patterns[:MOST_LISTED])}{more}: name one, or ask an admin."
