"""The API key with which programs of the same user use the `darkroom up` beside them.

Whoever runs `darkroom up` may make keys for any account anyway (`darkroom user key`), so an admin's
key in a file that only they can read gives nobody anything new.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import structlog

from darkroom.accounts import everyone, note, open_current
from darkroom.domain import Action
from darkroom.errors import NotFound, Unavailable
from darkroom.running import Running, announced, left_behind
from darkroom.settings import Settings
from storage import Storage

log = structlog.get_logger(__name__)

NAME = "darkroom up, for commands on this machine"


@contextmanager
def usable_here(settings: Settings, running: Running) -> Iterator[None]:
    """Let commands of the same user find and use a Darkroom until the block ends.

    The key is revoked then; one that a killed process left behind is revoked now.
    """
    with open_current(settings) as storage:
        _revoke(storage, left_behind(settings.data_dir))
        running = _with_key(storage, running)
    try:
        with announced(settings.data_dir, running):
            yield
    finally:
        try:
            with open_current(settings) as storage:
                _revoke(storage, running)
        except Unavailable as error:
            log.warning("the key of this start was not revoked", reason=error.detail)


def _with_key(storage: Storage, running: Running) -> Running:
    admin = next((each for each in everyone(storage.users) if each.is_admin and each.active), None)
    if admin is None:
        return running
    key, secret = storage.users.create_key(admin.id, name=NAME)
    note(storage, Action.KEY_CREATED, target=key.id)
    return replace(running, key=secret, key_id=key.id, user_id=admin.id)


def _revoke(storage: Storage, running: Running | None) -> None:
    if running is not None and running.user_id is not None and running.key_id is not None:
        with suppress(NotFound):
            storage.users.delete_key(running.user_id, running.key_id)
            note(storage, Action.KEY_REVOKED, target=running.key_id)
