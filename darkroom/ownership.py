"""One `darkroom up` per data folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.errors import SettingsError

LOCK_FILE = "up.lock"


@contextmanager
def owning(folder: Path) -> Iterator[int]:
    """Hold the data folder, which is made if it is missing; nobody else can until the block ends.

    Yields the descriptor of the lock. A child that inherits it holds the folder with us, and
    after us. Raises SettingsError when another one holds it, or when it cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(
            f"DARKROOM_DATA_DIR is {folder}, which cannot be used: {error.strerror}."
        ) from error
    try:
        _lock(descriptor, folder)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SettingsError(
            f"Another `darkroom up` uses the data folder {folder}, or is just stopping: stop it,"
            " or set DARKROOM_DATA_DIR to another folder."
        ) from error
