"""What is sent to an OpenAI-style server for a request."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from darkroom.domain import ImageRequest, Operation

#: What an admin's extra fields cannot replace: the caller's words and pictures.
OURS = frozenset({"model", "prompt", "n", "image", "images", "image[]", "mask"})
#: Fields that one of the two calls refuses.
ONLY_FOR = {
    "moderation": Operation.GENERATE,
    "style": Operation.GENERATE,
    "input_fidelity": Operation.EDIT,
}
#: Formats that are never streamed.
NOT_STREAMED = frozenset({"gif", "svg"})


@dataclass(frozen=True, kw_only=True)
class Extras:
    """The fields an admin adds to every call."""

    fields: Mapping[str, Any]
    #: How many unfinished pictures the admin wants to see of each, 0 for none; None if that was
    #: left open.
    partial_images: int | None

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        fields = {name: value for name, value in params.items() if name not in OURS}
        stream, partial_images = fields.pop("stream", None), fields.pop("partial_images", None)
        if stream is False:
            partial_images = 0
        elif type(partial_images) is not int:
            partial_images = 1 if stream is True else None
        return cls(fields=fields, partial_images=partial_images)

    def of(self, operation: Operation) -> dict[str, Any]:
        """Those that such a call takes."""
        return {
            name: value
            for name, value in self.fields.items()
            if ONLY_FOR.get(name, operation) is operation
        }


def body(
    model: str, request: ImageRequest, extras: Extras, *, partial_images: int = 0
) -> dict[str, Any]:
    """What is sent for a fitted request, by name.

    OpenAI refuses fields it does not know, so what was not asked for is left out. The model is
    always named: the vendor's own default is retired. With `partial_images` the answer is streamed,
    where it is a single picture of a kind that can be.
    """
    asked = {
        "size": None if request.size is None else str(request.size),
        "quality": request.quality,
        "output_format": request.output_format,
        "background": request.background,
        # OpenAI has none of these; a compatible server may, and then its catalog entry says so.
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "steps": request.steps,
    }
    fields: dict[str, Any] = {"model": model, "prompt": request.prompt, "n": request.count}
    fields |= {name: value for name, value in asked.items() if value is not None}
    if model.startswith("dall-e-"):
        # The others always answer so, and refuse to be asked.
        fields["response_format"] = "b64_json"
    fields |= extras.of(request.operation)
    if partial_images and request.count == 1 and fields.get("output_format") not in NOT_STREAMED:
        fields |= {"stream": True, "partial_images": partial_images}
    return fields


def as_text(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same as text parts of a form, where everything is text and nothing is nested."""
    return [part for name, value in fields.items() for part in _parts(name, value)]


def _parts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    match value:
        case None:
            return
        case bool():
            yield name, str(value).lower()
        case dict():
            for key, inner in value.items():
                yield from _parts(f"{name}[{key}]", inner)
        case list():
            for inner in value:
                yield from _parts(f"{name}[]", inner)
        case _:
            yield name, str(value)
