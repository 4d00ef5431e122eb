"""The `darkroom` command as somebody types it, against a Darkroom that runs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from PIL import Image

from tests.end_to_end.caller import PATIENCE_S


def size_of(picture: Path | IO[bytes]) -> tuple[int, int]:
    """Width and height, in pixels."""
    with Image.open(picture) as opened:
        return opened.size


class Person:
    """Types commands in a folder of their own, with a configuration folder of their own."""

    def __init__(self, folder: Path, *, data_dir: Path | None = None, **variables: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        home = folder / "home"
        self._environment = {
            **os.environ,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "DARKROOM_DATA_DIR": str(data_dir or folder / "no data"),
            **variables,
        }

    def types(self, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Returns once the command has ended."""
        return subprocess.run(
            self._command(words),
            cwd=self.folder,
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def gets(self, *words: str) -> Any:
        """What a command that goes well prints with `--json`."""
        done = self.types(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def starts(self, *words: str) -> "subprocess.Popen[str]":
        """A command that runs, and can be interrupted."""
        return subprocess.Popen(
            self._command(words),
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that runs tests in the background has them ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-P", "-m", "darkroom", *words]
