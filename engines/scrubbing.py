"""Cleans what engines say before people read it."""

import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "[secret]"
LONGEST = 300

#: Keys of any account, also half masked as vendors quote them, and credentials inside an address.
KEY_SHAPES = re.compile(
    r"\b(?:sk|dk)[-_][\w*.-]{4,}|\bAIza[\w*.-]{4,}|(?i:\bbearer\s+)[\w.~+/*=-]{4,}|(?<=://)[^\s/@]+@"
)
#: Paths on the engine's machine. Paths of an address (`/v1/images`) say something and may stay.
SERVER_PATH = re.compile(
    r"(?<![\w./-])/(?:app|data|etc|home|mnt|opt|private|root|srv|tmp|usr|Users|var|workspace)/\S+"
    r"|\b[A-Za-z]:\\\S+"
)


class Scrubber:
    """Takes secrets, paths and sheer length out of a text from elsewhere."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Very short ones would only riddle the text; nobody protects anything with them.
        kept = {each for each in secrets if len(each) >= 4}
        kept |= {quote(each, safe="") for each in kept}
        self._secrets = sorted(kept, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """`text` on one line of at most 300 characters, fit to be shown to anyone."""
        for each in self._secrets:
            text = text.replace(each, MASK)
        text = text.partition("Traceback (most recent call last)")[0]
        text = SERVER_PATH.sub("[path]", KEY_SHAPES.sub(MASK, text))
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"
