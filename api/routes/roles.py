"""Roles: names for limits, for admins."""

from typing import Any

from api.auditing import audit
from api.auth import admins_only
from api.blueprints import Blueprint
from api.role_schemas import RoleChangeSchema, RoleSchema
from api.services import services
from darkroom.domain import Action, NamedRole

roles = Blueprint("roles", __name__, description="Roles and their limits, for admins")


@roles.get("/")
@admins_only
@roles.response(200, RoleSchema(many=True))
@roles.problems(401, 403, 503)
def list_roles() -> list[NamedRole]:
    """All roles: `admin`, `user`, and those that were made."""
    return list(services().storage.roles.list())


@roles.get("/<name>")
@admins_only
@roles.response(200, RoleSchema)
@roles.problems(401, 403, 404, 503)
def read_role(name: str) -> NamedRole:
    """One role."""
    return services().storage.roles.get(name)


@roles.put("/<name>")
@admins_only
@roles.arguments(RoleChangeSchema)
@roles.response(200, RoleSchema)
@roles.problems(400, 401, 403, 409, 413, 415, 503)
def put_role(change: dict[str, Any], name: str) -> NamedRole:
    """Make a role, or give one other limits; they hold from the next request on.

    All limits are replaced. `admin` has none, and cannot be given any.
    """
    role = NamedRole(name=name, limits=change["limits"])
    services().storage.roles.put(role)
    audit(Action.ROLE_CHANGED, services(), target=name, fields=["limits"])
    return role


@roles.delete("/<name>")
@admins_only
@roles.response(204)
@roles.problems(401, 403, 404, 409, 503)
def delete_role(name: str) -> None:
    """Delete a role that no account has."""
    services().storage.roles.delete(name)
    audit(Action.ROLE_DELETED, services(), target=name)
