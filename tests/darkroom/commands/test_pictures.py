"""Names of picture files, and pictures in the terminal."""

import base64
import re

import pytest

from darkroom.client import Image
from darkroom.commands.previewing import iterm2, kitty, protocol
from darkroom.commands.saving import file_name
from darkroom.settings import Terminal


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A ship, at dusk!", "a-ship-at-dusk-6f0c.png"),
        ("Über dem Meer", "uber-dem-meer-6f0c.png"),
        ("海の船", "6f0c.png"),
        ("../../etc/passwd", "etc-passwd-6f0c.png"),
        (None, "6f0c.png"),
        ("word " * 50, "word-word-word-word-word-word-word-word-6f0c.png"),
    ],
)
def test_a_name_says_what_the_picture_shows(prompt: str | None, name: str) -> None:
    image = Image(id="6f0c", url="", name="6f0c.png", content_type="image/png")

    assert file_name(image, prompt) == name


def test_a_name_of_the_server_leads_nowhere_else() -> None:
    image = Image(id="6f0c", url="", name="../../.bashrc", content_type="image/png")

    assert file_name(image, "a ship") == "a-ship-.bashrc"


@pytest.mark.parametrize(
    ("terminal", "expected"),
    [
        (Terminal(term="xterm-kitty"), kitty),
        (Terminal(term="xterm-256color", kitty_window_id="1"), kitty),
        (Terminal(term="xterm-ghostty"), kitty),
        (Terminal(term_program="iTerm.app"), iterm2),
        (Terminal(term_program="WezTerm"), iterm2),
        (Terminal(lc_terminal="iTerm2"), iterm2),
        (Terminal(term="screen-256color", lc_terminal="iTerm2"), None),
        (Terminal(term="tmux-256color", kitty_window_id="1"), None),
        (Terminal(term="xterm-256color"), None),
        (Terminal(), None),
    ],
)
def test_only_terminals_that_can_are_sent_pictures(terminal: Terminal, expected: object) -> None:
    assert protocol(terminal) is expected


def test_kitty_gets_a_picture_in_pieces() -> None:
    png = bytes(range(256)) * 40

    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", kitty(png))

    assert [keys for keys, _ in pieces] == ["a=T,f=100,m=1", "m=1", "m=1", "m=0"]
    assert base64.b64decode("".join(data for _, data in pieces)) == png


def test_iterm2_gets_a_picture_whole() -> None:
    assert iterm2(b"picture") == "\x1b]1337;File=inline=1;size=7:cGljdHVyZQ==\x07"
