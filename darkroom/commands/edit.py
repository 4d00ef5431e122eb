"""`darkroom edit`."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from darkroom.commands.calling import Caller, calling, starting
from darkroom.commands.exits import EXPLAINED
from darkroom.commands.request_options import given, output_folder, request_options

if TYPE_CHECKING:
    from darkroom.client.bodies import Picture


@click.command(epilog=EXPLAINED)
@click.argument("images", metavar="IMAGE…", nargs=-1, required=True)
@click.argument("prompt")
@click.option("--mask", metavar="IMAGE", help="Where to repaint the first picture.")
@request_options
@output_folder("Folder for the pictures. [default: this one]", Path())
@click.option("--preview/--no-preview", default=True, help="Show the pictures in the terminal.")
@starting
@calling
def edit(
    caller: Caller,
    images: tuple[str, ...],
    prompt: str,
    mask: str | None,
    output: Path,
    preview: bool,
    **fields: Any,
) -> None:
    """Change pictures by a prompt, save the result, and print the paths of the files.

    IMAGE is a file of this machine, the id of a picture on the server, or a URL. In a mask, what is
    transparent is repainted, or what is white where nothing is transparent.

    \b
    Examples:
      darkroom edit harbour.png "add a sailing boat"
      darkroom edit room.jpg chair.jpg "put the chair into the room" -o rooms
      darkroom edit face.png "a red hat" --mask hat.png
    """
    from darkroom.commands.drawing import draw

    pictures = [_picture(each) for each in images]
    masked = None if mask is None else _picture(mask)
    draw(
        caller,
        lambda client, key: client.submit(
            prompt, image=pictures, mask=masked, idempotency_key=key, **given(fields)
        ),
        output,
        preview=preview,
    )


def _picture(text: str) -> "Picture":
    """A file of this machine, or what the server knows how to read."""
    if text.startswith(("http://", "https://", "data:", "/api/")) or _is_id(text):
        return text
    path = Path(text)
    if not path.is_file():
        raise click.BadParameter(f"There is no file {text}, and it is neither a URL nor an id.")
    return path


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
