"""Pictures shown in the terminal itself, where it can."""

import base64
import io
import sys
from collections.abc import Callable
from pathlib import Path

from darkroom.settings import Terminal, read_terminal

#: Longest side of a picture that is shown, in pixels.
SHOWN_PIXELS = 480

#: Most characters of one piece in kitty's protocol.
PIECE_CHARS = 4096


def show(paths: list[Path]) -> None:
    """Show pictures, unless stdout is no terminal or one that cannot."""
    encode = protocol(read_terminal()) if sys.stdout.isatty() else None
    if encode is not None:
        for each in paths:
            sys.stdout.write(encode(_small(each)) + "\n")
        sys.stdout.flush()


def protocol(terminal: Terminal) -> Callable[[bytes], str] | None:
    """How this terminal takes pictures, if it does. Inside of screen and tmux none does."""
    if terminal.term.startswith(("screen", "tmux")):
        return None
    if terminal.kitty_window_id or terminal.term in {"xterm-kitty", "xterm-ghostty"}:
        return kitty
    if "iTerm" in terminal.lc_terminal or terminal.term_program in {"iTerm.app", "WezTerm"}:
        return iterm2
    return None


def kitty(png: bytes) -> str:
    """Kitty's graphics protocol: the picture in pieces, each but the last with `m=1`."""
    text = base64.b64encode(png).decode()
    pieces = [text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS)]
    return "".join(
        f"\x1b_G{'a=T,f=100,' if number == 0 else ''}m={int(number < len(pieces) - 1)};{each}\x1b\\"
        for number, each in enumerate(pieces)
    )


def iterm2(png: bytes) -> str:
    """iTerm2's inline images."""
    return f"\x1b]1337;File=inline=1;size={len(png)}:{base64.b64encode(png).decode()}\x07"


def _small(path: Path) -> bytes:
    from PIL import Image

    with Image.open(path) as picture:
        picture.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
        data = io.BytesIO()
        picture.convert("RGBA").save(data, "PNG")
    return data.getvalue()
