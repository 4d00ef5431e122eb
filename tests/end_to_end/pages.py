"""Pages of the documentation, carried out from top to bottom as a reader would."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUN = {"sh", "python"}
SHOWN = {"json", "text"}


@dataclass(frozen=True, kw_only=True)
class Example:
    """One block that is carried out, with the output that the page shows below it."""

    language: str
    text: str
    shown: str | None = None


def examples(page: Path) -> Iterator[Example]:
    """The examples of a page, in order. What is no output of one is for reading only."""
    blocks = BLOCK.findall(page.read_text())
    for (language, text), (next_language, next_text) in zip(
        blocks, [*blocks[1:], ("", "")], strict=True
    ):
        if language in RUN:
            shown = next_text if next_language in SHOWN else None
            yield Example(language=language, text=text, shown=shown)


def is_as_shown(output: str, shown: str) -> bool:
    """Whether the output is what a page shows: `…` stands for anything, white space for none."""
    parts = (re.escape("".join(part.split())) for part in shown.split("…"))
    return re.fullmatch(".*?".join(parts), "".join(output.split())) is not None


class Terminal:
    """A terminal in a folder of its own: variables and files stay from one example to the next."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._folder = folder
        self._folder.mkdir()
        self._kept = folder.with_name("variables")
        self._kept.write_text(
            "".join(f"export {name}={value!r}\n" for name, value in variables.items())
        )
        self._programs = folder.with_name("programs")
        self._programs.mkdir()
        self._program("darkroom", f'exec "{sys.executable}" -P -m darkroom "$@"')
        self._program("python", f'exec "{sys.executable}" "$@"')

    def carry_out(self, example: Example) -> str:
        """What it prints. Raises AssertionError with all it said when it fails."""
        if example.language == "python":
            return self._run(". $KEPT; python -", example.text)
        return self._run(f". $KEPT; set -a\n{example.text}\nexport -p > $KEPT", "")

    def _run(self, script: str, text: str) -> str:
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", script],
            cwd=self._folder,
            env={
                "PATH": f"{self._programs}:/usr/local/bin:/usr/bin:/bin",
                "HOME": str(self._folder),
                "KEPT": str(self._kept),
                "PYTHONPATH": ":".join(sys.path),
            },
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{script}\n{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _program(self, name: str, script: str) -> None:
        path = self._programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
