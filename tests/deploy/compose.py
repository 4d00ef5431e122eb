"""`docker-compose.yml` as a compose implementation sees it, with nothing that runs containers."""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"

#: Stands in for podman: notes what it is asked to do, one line of shell words each, and is content.
ENGINE = """#!{python}
import shlex, sys
with open({log!r}, "a") as log:
    print(shlex.join(sys.argv[1:]).replace("\\n", " "), file=log)
print("podman version 5.2.0" if "--version" in sys.argv else "[]")
"""


@dataclass(frozen=True)
class Created:
    """A container that the compose implementation wants."""

    service: str
    image: str
    environment: dict[str, str | None]
    command: list[str]


class Compose:
    """podman-compose on our file, with `.env.example` filled in."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "podman.log"
        self._engine = folder / "podman"
        self._engine.write_text(ENGINE.format(python=sys.executable, log=str(self._log)))
        self._engine.chmod(0o755)
        self._settings = folder / ".env"
        self._settings.write_text(
            "".join(
                f"{line}{'x' * 32}\n" if line.endswith("=") and line[0] != "#" else f"{line}\n"
                for line in (ROOT / ".env.example").read_text().splitlines()
            )
        )

    def merged(self, *profiles: str) -> Any:
        """The file with everything that is put into it."""
        return yaml.safe_load(self._run("config", profiles))

    def created(self, *profiles: str) -> list[Created]:
        """What `up` creates."""
        self._log.unlink(missing_ok=True)
        self._run("up", profiles, "--no-start")
        calls = [shlex.split(line) for line in self._log.read_text().splitlines()]
        return [_created(call[1:]) for call in calls if call[:1] == ["create"]]

    def _run(self, command: str, profiles: tuple[str, ...], *options: str) -> str:
        chosen = [word for each in profiles for word in ("--profile", each)]
        outcome = subprocess.run(
            [
                *(sys.executable, "-m", "podman_compose", "--podman-path", str(self._engine)),
                *("-f", str(FILE), "--env-file", str(self._settings), *chosen, command, *options),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            env={"PATH": os.environ["PATH"]},
        )
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout


def _created(words: list[str]) -> Created:
    """Read the line of `podman create`: options, each with `=` or a value behind it, an image, and
    the command."""
    service = ""
    environment: dict[str, str | None] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            return Created(service, word, environment, list(rest))
        name, equals, value = word.partition("=")
        if not equals and name not in ("--read-only", "--init", "--no-healthcheck"):
            value = next(rest)
        if name in ("-e", "--env"):
            key, given, text = value.partition("=")
            environment[key] = text if given else None
        elif value.startswith("com.docker.compose.service="):
            service = value.partition("=")[2]
    raise AssertionError(words)
