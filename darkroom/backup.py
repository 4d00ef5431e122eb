"""`darkroom backup`: a copy of a data folder, taken while it is in use.

The copy is a data folder itself. The database comes first and the files after it: a file is written
before its row and deleted after it, so every picture the copy knows of is there, unless somebody
deleted it meanwhile.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from darkroom.errors import NotFound, SettingsError
from darkroom.ownership import owning
from darkroom.secrets import SECRET_FILE
from darkroom.settings import Settings
from storage import open_storage
from storage.database import Database
from storage.files import Files
from storage.migrations import is_current

PAGE = "docs/how-to/backup-and-restore.md"


def back_up(settings: Settings, folder: Path, say: Callable[[str], None]) -> None:
    """Copy the data folder to `folder`, which is made, or brought up to date when it holds an
    earlier copy.

    Raises SettingsError for a database or a file store that is no part of a data folder, or a
    `folder` that is in use, and Unavailable when either does not answer.
    """
    if settings.is_shared:
        raise SettingsError(
            f"The database is a server's: back it up with its own tools, as {PAGE} says."
        )
    if not settings.storage.startswith("file:"):
        raise SettingsError(
            f"DARKROOM_STORAGE_URL names an object store, which keeps its own copies: {PAGE} says"
            " what else to keep."
        )
    storage = open_storage(settings)
    try:
        if not is_current(storage.database):
            raise SettingsError(
                "The database is not at this release's schema: run `darkroom migrate` first."
            )
        with owning(folder):
            _copy_database(storage.database, folder)
            copied = _copy_files(storage.files, Files((folder / "files").absolute().as_uri()))
            _copy_secret(settings, folder)
    finally:
        storage.close()
    say(f"{folder} is a data folder now; {copied} files are new in it.")
    if settings.secret_key is not None:
        say("DARKROOM_SECRET_KEY is not in it: keep that too, or no engine key can be read.")


def _copy_database(database: Database, folder: Path) -> None:
    draft, copy = folder / "darkroom.db.draft", folder / "darkroom.db"
    draft.unlink(missing_ok=True)
    database.copy_to(draft)
    # It holds the hashes of passwords, and the folder may be open to others.
    draft.chmod(0o600)
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    # Whoever looked into the last copy may have left these, and they belong to that one only.
    for name in ("darkroom.db-wal", "darkroom.db-shm"):
        (folder / name).unlink(missing_ok=True)
    draft.replace(copy)


def _copy_files(source: Files, target: Files) -> int:
    """Bring one store to the state of the other; returns how many files were copied."""
    wanted, there = set(source.keys()), set(target.keys())
    copied = 0
    for key in sorted(wanted - there):
        try:
            with source.open(key) as file:
                target.put_file(key, file)
        except NotFound:
            # Deleted since the listing.
            continue
        copied += 1
    for key in there - wanted:
        target.delete(key)
    return copied


def _copy_secret(settings: Settings, folder: Path) -> None:
    if settings.secret_key is None:
        # With its mode, which lets nobody else read it.
        shutil.copy2(settings.data_dir / SECRET_FILE, folder / SECRET_FILE)
