"""The database and the file store."""

import time

from darkroom.doctor.diagnosis import Diagnosis, doubtful, failed, well
from darkroom.errors import FileStoreUnavailable, NotFound, Unavailable
from storage import Storage
from storage.migrations import is_current

#: Room on the disk below which a local file store is in doubt, in bytes.
LITTLE_ROOM = 1 << 30


def database(storage: Storage) -> Diagnosis:
    begun = time.perf_counter()
    try:
        storage.database.check()
    except Unavailable:
        # The driver's words could quote the URL with its password.
        return failed(
            "database",
            "It does not answer: check DARKROOM_DATABASE_URL, user and password too, and whether it"
            " is running.",
        )
    took_ms = (time.perf_counter() - begun) * 1000
    if not is_current(storage.database):
        return failed("database", "Its schema is not current: run `darkroom migrate`.")
    return well("database", f"It answers in {took_ms:.1f} ms, and its schema is current.")


def file_store(storage: Storage) -> Diagnosis:
    try:
        storage.files.rehearse()
    except (FileStoreUnavailable, NotFound):
        return failed(
            "file store",
            "No file could be written, read and deleted: check DARKROOM_STORAGE_URL, and the rights"
            " and the room of its folder or the credentials for its bucket.",
        )
    free = storage.files.free_bytes()
    if free is not None and free < LITTLE_ROOM:
        return doubtful(
            "file store",
            f"Only {free >> 20} MiB are free: make room, or let old pictures go with"
            " DARKROOM_KEEP_IMAGES_DAYS.",
        )
    return well("file store", "A file was written, read and deleted.")
