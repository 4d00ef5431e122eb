"""The label on the built-in engine's pictures."""

from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFont

NOTICE = "Placeholder, not an AI model"
#: No label shows more of a prompt than this.
LONGEST_TEXT = 400

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def label(picture: Image.Image, prompt: str, notes: Iterable[str], *, margin: int) -> None:
    """Put a panel on the bottom of `picture`, `margin` pixels from its edges.

    It says first that this is a placeholder, then the prompt, then `notes` in small print; what
    has no room is cut off at the end.
    """
    width, height = picture.size
    small, large = max(8, min(width, height) // 40), max(8, min(width, height) // 26)
    padding = max(2, min(width, height) // 32)
    room = width - 2 * (margin + padding)

    lines: list[tuple[str, Font]] = []
    for text, size, most in (
        (NOTICE, small, 4),
        (prompt[:LONGEST_TEXT], large, 4),
        ("  ·  ".join(notes)[:LONGEST_TEXT], small, 3),
    ):
        font = ImageFont.load_default(size)
        lines += [(line, font) for line in _wrap(_printable(text), font, room, most)]
    heights = [round(font.getbbox("Ag")[3] * 1.35) for _, font in lines]
    while sum(heights) > height - 2 * (margin + padding) and len(lines) > 1:
        lines.pop()
        heights.pop()

    top = height - margin - 2 * padding - sum(heights)
    canvas = ImageDraw.Draw(picture, "RGBA")
    panel = (margin, top, width - margin - 1, height - margin - 1)
    canvas.rounded_rectangle(panel, radius=padding, fill=(14, 14, 18, 190))
    y = top + padding
    for (line, font), step in zip(lines, heights, strict=True):
        canvas.text((margin + padding, y), line, font=font, fill=(246, 244, 238, 255))
        y += step


def _printable(text: str) -> str:
    """Text on one line that every font survives: no control characters, no half surrogates."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _wrap(text: str, font: Font, room: int, most: int) -> list[str]:
    """Break `text` into at most `most` lines that are `room` pixels wide."""
    lines: list[str] = []
    while text and len(lines) < most:
        end = _fitting_length(text, font, room)
        if end < len(text):
            # Between words where there are any.
            end = text.rfind(" ", 0, end + 1) if " " in text[: end + 1].strip() else end
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    if text:
        lines[-1] = lines[-1][:-1].rstrip() + "…"
    return lines


def _fitting_length(text: str, font: Font, room: int) -> int:
    """How many characters of `text` fit into `room` pixels; at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle]) <= room:
            low = middle
        else:
            high = middle - 1
    return low
