"""Accounts as the command line handles them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from darkroom.domain import Action, User
from darkroom.errors import NotFound, SettingsError
from darkroom.settings import Settings
from storage import Storage, open_storage
from storage.migrations import is_current
from storage.roles import Roles
from storage.users import Users

PAGE = 500

#: Where somebody was who used it, as the audit log has it.
COMMAND_LINE = "command line"


@contextmanager
def open_users(settings: Settings) -> Iterator[Users]:
    """The accounts of a database. Raises SettingsError when its schema is not the one we know."""
    with open_current(settings) as storage:
        yield storage.users


@contextmanager
def open_roles(settings: Settings) -> Iterator[Roles]:
    """The roles of a database. Raises SettingsError when its schema is not the one we know."""
    with open_current(settings) as storage:
        yield storage.roles


@contextmanager
def open_current(settings: Settings) -> Iterator[Storage]:
    """All that is kept. Raises SettingsError when the schema is not the one we know."""
    storage = open_storage(settings)
    try:
        if not is_current(storage.database):
            raise SettingsError(
                "The database is not at this release's schema: run `darkroom migrate` first."
            )
        yield storage
    finally:
        storage.close()


def note(
    storage: Storage, action: Action, *, target: str | None, fields: Sequence[str] = ()
) -> None:
    """Write down what the command line did."""
    storage.audit.add(action, address=COMMAND_LINE, target=target, fields=fields)


def everyone(users: Users) -> Iterator[User]:
    """All accounts, the oldest first."""
    offset = 0
    while page := users.list(limit=PAGE, offset=offset):
        yield from page
        offset += len(page)


def with_email(users: Users, email: str) -> User:
    """Raises NotFound."""
    for each in everyone(users):
        if each.email == email.strip().lower():
            return each
    raise NotFound(f"There is no account {email}: see `darkroom user list`.")
