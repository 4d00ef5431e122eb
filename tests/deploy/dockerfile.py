"""Does what a Dockerfile says without a container engine: each stage in a clean root of its own.

The base image is this machine's `/usr` and Python, which no step can write to. Steps run in a mount
namespace, so that nothing is left mounted. Needs root on Linux, and the right to mount.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

#: What a base image has in `/etc`, taken from here.
SHARED = [
    *("passwd", "group", "login.defs", "nsswitch.conf", "resolv.conf", "hosts", "ld.so.cache"),
    "pip.conf",
]

#: What no step can write to: the system's programs, and Python, where it was built for.
FROM_HERE = dict.fromkeys(["/usr", sys.base_prefix])

#: Makes the namespace's own loopback usable: `ip link set lo up`.
LOOPBACK_UP = (
    "import fcntl, socket, struct; s = socket.socket();"
    " fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 1 | 64))"
)


def can_run() -> bool:
    """Whether this process may make namespaces and mount in them."""
    if sys.platform != "linux" or os.getuid() != 0 or shutil.which("nsenter") is None:
        return False
    probe = ["unshare", "--mount", "--net", "mount", "-t", "tmpfs", "probe", "/mnt"]
    return subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0


@dataclass
class Image:
    """A stage: its root, and what it says of the processes that will run in it."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    folder: str = "/"
    volumes: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"

    def enter(self, command: Sequence[str], *, read_only: bool = False) -> list[str]:
        """The command line that runs a command in this root, in namespaces of its own."""
        root = shlex.quote(str(self.root))
        steps = [f"mount --bind {root} {root}"]
        for each in FROM_HERE:
            steps += [f"mount --bind {each} {root}{each}", f"mount -o remount,bind,ro {root}{each}"]
        steps += [f"mount --rbind {each} {root}{each}" for each in ("/dev", "/proc")]
        for links in _local_wheels():
            steps += [f"mkdir -p {root}{links}", f"mount --bind {links} {root}{links}"]
        if read_only:
            steps.append(f"mount -o remount,bind,ro {root}")
            for each in ("/tmp", *self.volumes):  # noqa: S108
                steps.append(f"mount -t tmpfs -o mode=1777 tmpfs {root}{each}")
            steps.append(f"{sys.executable} -c {shlex.quote(LOOPBACK_UP)}")
        steps.append(f"exec chroot {root} {shlex.join(self.within(command))}")
        namespaces = ["--mount", "--net"] if read_only else ["--mount"]
        return ["unshare", *namespaces, "sh", "-c", " && ".join(steps)]

    def within(self, command: Sequence[str]) -> list[str]:
        """The command as this image's user, in its folder and environment."""
        given = [f"{name}={value}" for name, value in self.environment.items()]
        in_folder = ["sh", "-c", f'cd {self.folder} && exec "$@"', "sh", *command]
        as_whom = (
            []
            if self.user == "root"
            else [
                *("setpriv", "--reuid", self.user, "--regid", self.user, "--clear-groups"),
                *("--bounding-set=-all", "--no-new-privs", "--"),
            ]
        )
        return [*as_whom, "env", "-i", *given, *in_folder]


def build(dockerfile: Path, folder: Path) -> Image:
    """Carry out every step; returns the last stage."""
    context, image = dockerfile.parent, None
    stages: dict[str, Image] = {}
    for instruction, rest in instructions(dockerfile.read_text()):
        if instruction == "FROM":
            base, *name = re.split(r"\s+AS\s+", rest, flags=re.IGNORECASE)
            assert base.startswith("python:"), f"{base} cannot be stood in for"
            image = _base(folder / f"stage-{len(stages)}")
            stages[name[0] if name else ""] = image
            continue
        assert image is not None
        _STEPS[instruction](image, rest, context, stages)
    assert image is not None
    return image


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction with what follows it."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


class Container:
    """The image's entry point, while the block runs; its root cannot be written to."""

    def __init__(self, image: Image, log: Path, *command: str) -> None:
        self._image = image
        self._log = log
        self._command = [*image.entrypoint, *(command or image.command)]

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._image.enter(self._command, read_only=True),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_running:
            self._process.kill()
            self._process.wait()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def root(self) -> Path:
        """Its files as it sees them."""
        return Path(f"/proc/{self.pid}/root")

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Another command in it."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--net", "--root", "--"]
        return subprocess.run(
            [*enter, *self._image.within(command)], capture_output=True, text=True, timeout=120
        )

    def is_healthy(self) -> bool:
        return self.run(*self._image.health_check).returncode == 0

    def stop(self) -> int:
        """Stop it as an engine would; returns its status."""
        self._process.send_signal(signal.Signals[self._image.stop_signal])
        return self._process.wait(60)


def _base(root: Path) -> Image:
    for each in ("dev", "proc", "tmp", "etc", "root", "image/bin", *FROM_HERE):
        (root / each.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for each in ("bin", "sbin", "lib", "lib64"):
        if Path("/", each).is_symlink():
            (root / each).symlink_to(Path("/", each).readlink())
    etc = Path("/etc")
    for name in SHARED:
        if (etc / name).exists():
            shutil.copy(etc / name, root / "etc" / name)
    for name in ("ssl", "alternatives"):
        if (etc / name).exists():
            shutil.copytree(etc / name, root / "etc" / name, symlinks=True)
    if (of_user := Path.home() / ".config/pip/pip.conf").exists():
        (root / "etc/pip.conf").write_text(of_user.read_text())
    # Not a link: Python finds its library by where its program is.
    python = root / "image/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.base_prefix}/bin/python3 "$@"\n')
    python.chmod(0o755)
    return Image(
        root,
        environment={"PATH": "/image/bin:/usr/sbin:/usr/bin", "HOME": "/root"}
        | {name: value for name, value in os.environ.items() if name.startswith("PIP_")},
    )


def _local_wheels() -> list[str]:
    """Folders of this machine that pip is told to look into."""
    found = os.environ.get("PIP_FIND_LINKS", "").split()
    return [each for each in found if Path(each).is_dir()]


def _run(image: Image, rest: str, context: Path, stages: dict[str, Image]) -> None:
    subprocess.run(image.enter(["sh", "-c", rest]), check=True)


def _copy(image: Image, rest: str, context: Path, stages: dict[str, Image]) -> None:
    source, words = context, rest.split()
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")].root
    *names, last = words
    target = image.root / Path(image.folder, last).relative_to("/")
    for name in names:
        each = source / name.lstrip("/")
        if each.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(each, target, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        else:
            into = target / each.name if last.endswith("/") else target
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(each, into)


def _env(image: Image, rest: str, context: Path, stages: dict[str, Image]) -> None:
    for word in shlex.split(rest):
        name, _, value = word.partition("=")
        image.environment[name] = re.sub(
            r"\$(\w+)", lambda match: image.environment.get(match[1], ""), value
        )


def _workdir(image: Image, rest: str, context: Path, stages: dict[str, Image]) -> None:
    image.folder = rest
    (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)


def _user(image: Image, rest: str, context: Path, stages: dict[str, Image]) -> None:
    accounts = (image.root / "etc/passwd").read_text().splitlines()
    [image.user] = [each.split(":")[2] for each in accounts if each.startswith(f"{rest}:")]


def _health_check(image: Image, rest: str, context: Path, stages: dict[str, Image]) -> None:
    image.health_check = json.loads(rest[rest.index("CMD") + 3 :])


def _ignored(image: Image, rest: str, context: Path, stages: dict[str, Image]) -> None:
    """Says something to people and to engines only."""


_STEPS: dict[str, Any] = {
    "RUN": _run,
    "COPY": _copy,
    "ENV": _env,
    "ARG": _env,
    "WORKDIR": _workdir,
    "USER": _user,
    "VOLUME": lambda image, rest, *_: image.volumes.append(rest),
    "EXPOSE": _ignored,
    "STOPSIGNAL": lambda image, rest, *_: setattr(image, "stop_signal", rest),
    "HEALTHCHECK": _health_check,
    "ENTRYPOINT": lambda image, rest, *_: setattr(image, "entrypoint", json.loads(rest)),
    "CMD": lambda image, rest, *_: setattr(image, "command", json.loads(rest)),
}
