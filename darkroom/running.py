"""How programs of the same user find the `darkroom up` that runs on a data folder.

It leaves a file there that only its owner can read, with its URL and an API key, and holds a lock
on it. The lock ends with the process however it ends, so that a file left behind is known as such.
"""

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = "running.json"


@dataclass(frozen=True, kw_only=True)
class Running:
    """One running Darkroom, as it can be used from this machine."""

    url: str
    pid: int
    #: An API key that holds as long as it runs; None where there is no admin to act for.
    key: str | None = field(default=None, repr=False)
    #: The key's id, and whose it is.
    key_id: str | None = None
    user_id: str | None = None


@contextmanager
def announced(folder: Path, running: Running) -> Iterator[None]:
    """Let others find it until the block ends. Raises OSError when the folder cannot be written.

    The file stays, without its lock, until somebody has cleared up and calls `forget`.
    """
    draft = folder / f"{FILE}.{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        # Locked before anyone can see it: a file without a lock is always a stale one.
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(asdict(running), file)
        file.flush()
        draft.replace(folder / FILE)
        yield


def forget(folder: Path) -> None:
    """Leave nothing behind."""
    (folder / FILE).unlink(missing_ok=True)


def find_running(folder: Path) -> Running | None:
    """The one that runs on this folder now; None when there is none.

    A file that others can read or that is another user's is not believed: it may lead anywhere.
    """
    try:
        with (folder / FILE).open() as file:
            return _read(file.fileno(), file.read()) if _is_locked(file.fileno()) else None
    except OSError:
        return None


def left_behind(folder: Path) -> Running | None:
    """What the last one left behind when it ended without a chance to clean up."""
    try:
        with (folder / FILE).open() as file:
            return _read(file.fileno(), file.read())
    except OSError:
        return None


def _read(descriptor: int, text: str) -> Running | None:
    about = os.fstat(descriptor)
    if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
        return None
    try:
        return Running(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
