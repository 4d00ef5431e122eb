"""Options that say what to draw, shared by the commands that do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

#: By the field of a request that each one fills.
OPTIONS = (
    click.option("-m", "--model", help="`engine/model`, or a model's id: see `darkroom models`."),
    click.option("-s", "--size", help="WIDTHxHEIGHT in pixels, or auto."),
    click.option("-n", "--count", "n", type=click.IntRange(1), help="How many pictures."),
    click.option("--seed", type=click.IntRange(0), help="Same seed, same picture."),
    click.option("--steps", type=click.IntRange(1, 1000), help="Sampling steps."),
    click.option("--negative", "negative_prompt", metavar="TEXT", help="What not to show."),
    click.option("--quality", help="The model's own word for it."),
    click.option(
        "--format",
        "output_format",
        type=click.Choice(["png", "jpeg", "webp"]),
        help="Kind of picture file.",
    ),
    click.option(
        "--background",
        type=click.Choice(["auto", "opaque", "transparent"]),
        help="Whether the background is transparent.",
    ),
    click.option(
        "--strict",
        is_flag=True,
        default=None,
        help="Refuse what the model cannot honour, instead of warning about it.",
    ),
)


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def output_folder(help_: str, default: Path | None = None) -> Callable[..., Any]:
    """The option for the folder that pictures go to, which is made where it is missing."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(file_okay=False, path_type=Path),
        default=default,
        help=help_,
    )


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as fields of a request."""
    return {name: value for name, value in fields.items() if value is not None}
