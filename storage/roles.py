"""Roles: the limits that accounts share.

`admin` and `user` are always there; `admin` never has limits.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Row, delete, func, literal, select

from darkroom.domain import NO_LIMITS, Limits, NamedRole, Role, Size
from darkroom.errors import Conflict, InvalidRequest, NotFound
from storage.database import Database, epoch_now, hold, upsert
from storage.tables import LONGEST_ROLE, roles, users

LIMITS = frozenset(each.name for each in fields(Limits))

#: What a role may be called.
NAME = re.compile(rf"[a-z][a-z0-9_-]{{0,{LONGEST_ROLE - 1}}}")

#: What clients of Open WebUI take for an account that is not let in yet.
RESERVED = "pending"


class Roles:
    """All roles."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> Sequence[NamedRole]:
        """Those there always are first, the others by name."""
        with self._database.reading() as connection:
            found = {row.name: _role(row) for row in connection.execute(select(roles))}
        always = {each: NamedRole(name=each, limits=NO_LIMITS) for each in map(str, Role)}
        named = always | found
        return [*(named.pop(each) for each in always), *(named[each] for each in sorted(named))]

    def get(self, name: str) -> NamedRole:
        """Raises NotFound."""
        for each in self.list():
            if each.name == name:
                return each
        raise NotFound(f"There is no role {name!r}.")

    def put(self, role: NamedRole) -> None:
        """Make a role, or give one other limits.

        Raises Conflict for `admin`, InvalidRequest for what cannot be a name.
        """
        if not NAME.fullmatch(role.name):
            raise InvalidRequest(
                f"name: A role is called by 1 to {LONGEST_ROLE} lower case letters, digits, `-` or"
                " `_`, and begins with a letter.",
                param="name",
            )
        if role.name in (Role.ADMIN, RESERVED):
            raise Conflict(
                f"The role {role.name!r} cannot have limits: make another one, or give one account"
                " limits of its own."
            )
        with self._database.writing() as connection:
            row = upsert(connection, roles).values(
                name=role.name, updated_at=epoch_now(), **columns_of(role.limits)
            )
            changed = ("limits", "max_running", "updated_at")
            connection.execute(
                row.on_conflict_do_update(
                    index_elements=[roles.c.name],
                    set_={each: row.excluded[each] for each in changed},
                )
            )

    def delete(self, name: str) -> None:
        """Raises NotFound, or Conflict while an account has the role."""
        if name in tuple(Role):
            raise Conflict(f"The role {name!r} is always there; its limits can be taken away.")
        with self._database.counting("roles") as connection:
            held = select(func.count()).select_from(users).where(users.c.role == name)
            if count := connection.scalar(held):
                raise Conflict(f"{count} accounts have the role {name!r}: give them another first.")
            if not connection.execute(delete(roles).where(roles.c.name == name)).rowcount:
                raise NotFound(f"There is no role {name!r}.")


def refuse_unknown(connection: Connection, name: str) -> None:
    """Raises InvalidRequest; else the role stays until this transaction ends."""
    if name in tuple(Role):
        return
    hold(connection, literal("roles"))
    if connection.scalar(select(roles.c.name).where(roles.c.name == name)) is None:
        raise InvalidRequest(
            f"There is no role {name!r}: GET /api/v1/roles lists all there are.", param="role"
        )


def columns_of(limits: Limits) -> dict[str, Any]:
    """Limits as the columns of a role or an account."""
    said = {name: value for name, value in vars(limits).items() if value is not None}
    if limits.max_size is not None:
        said["max_size"] = str(limits.max_size)
    return {"limits": said, "max_running": limits.max_running}


def limits_of(stored: Mapping[str, Any] | None) -> Limits:
    """Limits from the column of that name."""
    if not stored:
        return NO_LIMITS
    # One that a newer release knows is none to this one.
    read = {name: value for name, value in stored.items() if name in LIMITS}
    if "max_size" in read:
        read["max_size"] = Size.parse(read["max_size"])
    if "models" in read:
        read["models"] = tuple(read["models"])
    return Limits(**read)


def _role(row: Row[Any]) -> NamedRole:
    return NamedRole(name=row.name, limits=limits_of(row.limits))
