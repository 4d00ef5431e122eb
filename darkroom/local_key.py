"""The API key with which programs of the same user use the `darkroom up` beside them.

Whoever runs `darkroom up` may make keys for any account anyway (`darkroom user key`), so an admin's
key in a file that only they can read gives nobody anything new.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import structlog

from darkroom.accounts import everyone, open_users
from darkroom.errors import NotFound, Unavailable
from darkroom.running import Running, announced, left_behind
from darkroom.settings import Settings
from storage.users import Users

log = structlog.get_logger(__name__)

NAME = "darkroom up, for commands on this machine"


@contextmanager
def usable_here(settings: Settings, running: Running) -> Iterator[None]:
    """Let commands of the same user find and use a Darkroom until the block ends.

    The key is revoked then; one that a killed process left behind is revoked now.
    """
    with open_users(settings) as users:
        _revoke(users, left_behind(settings.data_dir))
        running = _with_key(users, running)
    try:
        with announced(settings.data_dir, running):
            yield
    finally:
        try:
            with open_users(settings) as users:
                _revoke(users, running)
        except Unavailable as error:
            log.warning("the key of this start was not revoked", reason=error.detail)


def _with_key(users: Users, running: Running) -> Running:
    admin = next((each for each in everyone(users) if each.is_admin and each.active), None)
    if admin is None:
        return running
    key, secret = users.create_key(admin.id, name=NAME)
    return replace(running, key=secret, key_id=key.id, user_id=admin.id)


def _revoke(users: Users, running: Running | None) -> None:
    if running is not None and running.user_id is not None and running.key_id is not None:
        with suppress(NotFound):
            users.delete_key(running.user_id, running.key_id)
