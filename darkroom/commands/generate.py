"""`darkroom generate`."""

from pathlib import Path
from typing import Any

import click

from darkroom.commands.calling import Caller, calling, starting
from darkroom.commands.exits import EXPLAINED
from darkroom.commands.request_options import given, output_folder, request_options


@click.command(epilog=EXPLAINED)
@click.argument("prompt")
@request_options
@output_folder("Folder for the pictures. [default: this one]", Path())
@click.option("--preview/--no-preview", default=True, help="Show the pictures in the terminal.")
@starting
@calling
def generate(caller: Caller, prompt: str, output: Path, preview: bool, **fields: Any) -> None:
    """Draw pictures from a prompt, save them, and print the paths of the files.

    \b
    Examples:
      darkroom generate "a lighthouse at dusk, oil painting"
      darkroom generate "a red fox" -m openai/gpt-image-1 -s 1024x1024 -n 4 -o foxes
      darkroom generate "a red fox" --seed 7 --json | jq -r '.files[]'

    Ctrl-C cancels the job. In kitty, Ghostty, iTerm2 and WezTerm the pictures are shown, too.
    """
    from darkroom.commands.drawing import draw

    draw(
        caller,
        lambda client, key: client.submit(prompt, idempotency_key=key, **given(fields)),
        output,
        preview=preview,
    )
