"""The API key with which programs of the same user use the `darkroom up` beside them.

Whoever runs `darkroom up` may make keys for any account anyway (`darkroom user key`), so an admin's
key in a file that only they can read gives nobody anything new.
"""

from contextlib import suppress
from dataclasses import replace

import structlog

from darkroom.accounts import everyone, note, open_current
from darkroom.domain import Action
from darkroom.errors import NotFound, Unavailable
from darkroom.running import Running, announced, forget, left_behind
from darkroom.settings import Settings
from storage import Storage

log = structlog.get_logger(__name__)

NAME = "darkroom up, for commands on this machine"


def make(settings: Settings, running: Running) -> Running:
    """The same with a key; one that an earlier start did not come to revoke is revoked now.

    Should this start not come to it either, the next one finds the file.
    """
    try:
        with open_current(settings) as storage:
            _revoke(storage, left_behind(settings.data_dir))
            running = _with_key(storage, running)
    except Unavailable as error:
        log.warning("commands on this machine need a key of their own", reason=error.detail)
        return running
    try:
        with announced(settings.data_dir, running):
            pass
    except OSError as error:
        # A first admin's key, made just before, is still to be shown: whoever announces tells.
        log.warning("the next start will not know this one's key", reason=error.strerror)
    return running


def revoke(settings: Settings, running: Running) -> None:
    """Let the key be of no more use."""
    try:
        with open_current(settings) as storage:
            _revoke(storage, running)
    except Unavailable as error:
        log.warning("the next start revokes the key of this one", reason=error.detail)
    else:
        forget(settings.data_dir)


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
