"""What must be there before anyone can use a Darkroom: the schema, and one admin."""

from darkroom.domain import Action, FirstAdmin, Role
from darkroom.errors import Conflict, SettingsError
from darkroom.settings import Settings
from storage import open_storage
from storage.migrations import upgrade
from storage.users import Users

DEFAULT_EMAIL = "admin@localhost"


def prepare(settings: Settings) -> FirstAdmin | None:
    """Bring the schema up to date, and create the first admin where there is none.

    Doing it again, or by several processes at once, does no harm. Raises SettingsError, or
    Unavailable when the database does not answer.
    """
    storage = open_storage(settings)
    try:
        upgrade(storage.database)
        admin = create_first_admin(storage.users, settings)
        if admin is not None:
            made = storage.users.by_email(admin.email)
            storage.audit.add(
                Action.USER_CREATED,
                address="first start",
                target=made.id if made else None,
                fields=["role"],
            )
        return admin
    finally:
        storage.close()


def create_first_admin(users: Users, settings: Settings) -> FirstAdmin | None:
    """Create the configured admin with a first API key; None when there is an admin already.

    Raises SettingsError when the configured e-mail belongs to an account without admin rights.
    """
    if users.have_admin():
        return None
    email = settings.admin_email or DEFAULT_EMAIL
    try:
        admin = users.create(
            email=email,
            name="Admin",
            role=Role.ADMIN,
            permissions=settings.default_permissions,
            password=settings.admin_password,
        )
    except Conflict as conflict:
        if users.have_admin():
            # Another process was quicker, and shows the key.
            return None
        raise SettingsError(
            f"DARKROOM_ADMIN_EMAIL is {email}, which is an account without admin rights: set"
            " another e-mail."
        ) from conflict
    _, key = users.create_key(admin.id, name="first key")
    return FirstAdmin(email=admin.email, key=key)
