"""A folder in which the processes of a machine count together.

Each process takes the lowest free slot, by a lock that ends with it however it ends, and names its
files by that. A successor goes on with the numbers of the one before, so that no total ever falls
and no files pile up.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("run") / "metrics"


@dataclass(frozen=True)
class Slot:
    """This process's place, as long as it lives."""

    number: int
    #: Holds the lock; never closed.
    descriptor: int


def take_slot(folder: Path) -> Slot:
    """Take a place in the folder, which is emptied first when nobody has one.

    Raises OSError when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if not any(_is_taken(each) for each in folder.glob("*.slot")):
            for file in folder.glob("*.db"):
                file.unlink()
        number = 0
        while True:
            descriptor = os.open(folder / f"{number}.slot", os.O_RDWR | os.O_CREAT, 0o600)
            if _lock(descriptor):
                forget_present(folder, number)
                return Slot(number, descriptor)
            os.close(descriptor)
            number += 1


def forget_the_dead(folder: Path) -> None:
    """Drop what dead processes said of their present; what they counted stays."""
    with _alone(folder):
        for file in folder.glob("*.slot"):
            if not _is_taken(file):
                forget_present(folder, int(file.stem))


def forget_present(folder: Path, number: int) -> None:
    for file in folder.glob(f"gauge_live*_{number}.db"):
        with suppress(FileNotFoundError):
            file.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_taken(file: Path) -> bool:
    descriptor = os.open(file, os.O_RDWR)
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
