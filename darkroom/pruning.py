"""`darkroom prune`: delete what is kept no longer, or say what that would be."""

from collections import Counter
from collections.abc import Callable

from darkroom.errors import FileStoreUnavailable, SettingsError
from darkroom.settings import Settings
from storage import Storage, open_storage
from storage.retention import MIB, Limits
from worker.retention import prune as prune_batch

#: More than any service holds: a dry run lists everything.
EVERYTHING = 2**31


def prune(
    settings: Settings,
    *,
    days: float | None,
    mb_per_user: int | None,
    is_dry_run: bool,
    say: Callable[[str], None],
) -> None:
    """Delete by the limits given, or else by those of the settings.

    Raises SettingsError when there is no limit at all, and Unavailable when the database does not
    answer, or when the file store kept some that it should delete; all others are deleted then.
    """
    limits = Limits(
        days=settings.keep_images_days if days is None else days,
        mb_per_user=settings.keep_images_mb_per_user if mb_per_user is None else mb_per_user,
    )
    if not limits.are_set:
        raise SettingsError(
            "There is no limit: give --days or --mb-per-user, or set DARKROOM_KEEP_IMAGES_DAYS or"
            " DARKROOM_KEEP_IMAGES_MB_PER_USER."
        )
    storage = open_storage(settings)
    try:
        if not is_dry_run:
            _delete(storage, limits, say)
            return
        due = storage.retention.due(limits, most=EVERYTHING)
        size_of: Counter[str] = Counter()
        for image in due:
            size_of[image.owner_id] += image.size_bytes
        for owner_id, size_bytes in size_of.most_common():
            count = sum(image.owner_id == owner_id for image in due)
            owner = storage.users.get(owner_id).email
            say(f"{owner}: {count} pictures, {size_bytes / MIB:.1f} MiB")
        say(f"{len(due)} pictures would be deleted.")
    finally:
        storage.close()


def _delete(storage: Storage, limits: Limits, say: Callable[[str], None]) -> None:
    deleted = refused = 0
    batch = prune_batch(storage, limits)
    while batch.place is not None:
        deleted += batch.deleted
        refused += batch.refused
        batch = prune_batch(storage, limits, after=batch.place)
    say(f"Deleted {deleted} pictures.")
    if refused:
        raise FileStoreUnavailable(
            f"{refused} pictures could not be deleted, because the file store does not answer or"
            " refuses: the log names them. Do it again when that is put right."
        )
