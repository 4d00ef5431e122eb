"""Users: the accounts, for admins."""

from typing import Any

from api.account_schemas import (
    NewUserSchema,
    SessionsEndSchema,
    UserChangeSchema,
    UserQuerySchema,
    UserSchema,
)
from api.auditing import audit
from api.auth import admins_only, current_user
from api.blueprints import Blueprint
from api.services import services
from darkroom.domain import Action, Role, User
from darkroom.errors import Conflict

users = Blueprint("users", __name__, description="Accounts, for admins")


@users.get("/")
@admins_only
@users.arguments(UserQuerySchema, location="query")
@users.response(200, UserSchema(many=True))
@users.problems(400, 401, 403, 503)
def list_users(query: dict[str, int]) -> list[User]:
    """All accounts, oldest first."""
    return list(services().storage.users.list(**query))


@users.post("/")
@admins_only
@users.arguments(NewUserSchema)
@users.response(201, UserSchema)
@users.problems(400, 401, 403, 409, 413, 415, 503)
def create_user(new: dict[str, Any]) -> User:
    """Add an account. Without a password it can only be used by API key."""
    new.setdefault("permissions", services().settings.default_permissions)
    user = services().storage.users.create(**new)
    audit(Action.USER_CREATED, services(), target=user.id, fields=new)
    return user


@users.get("/<user_id>")
@admins_only
@users.response(200, UserSchema)
@users.problems(401, 403, 404, 503)
def read_user(user_id: str) -> User:
    """One account."""
    return services().storage.users.get(user_id)


@users.patch("/<user_id>")
@admins_only
@users.arguments(UserChangeSchema, required=False)
@users.response(200, UserSchema)
@users.problems(400, 401, 403, 404, 409, 413, 415, 503)
def change_user(changes: dict[str, Any], user_id: str) -> User:
    """Change what is given and keep the rest."""
    changed = tuple(changes)
    steps_down = changes.get("role", Role.ADMIN) != Role.ADMIN or not changes.get("active", True)
    if steps_down and user_id == current_user().id:
        raise Conflict("You cannot take your own admin rights away: ask another admin.")
    user = services().storage.users.update(user_id, **changes)
    audit(Action.USER_CHANGED, services(), target=user.id, fields=changed)
    return user


@users.post("/<user_id>/signout")
@admins_only
@users.arguments(SessionsEndSchema, required=False)
@users.response(204)
@users.problems(400, 401, 403, 404, 413, 415, 503)
def end_sessions(wanted: dict[str, bool], user_id: str) -> None:
    """End all sign-ins of an account, and revoke its API keys if `api_keys` says so."""
    services().storage.users.end_sessions(user_id, api_keys_too=wanted["api_keys"])
    fields = [name for name, is_wanted in wanted.items() if is_wanted]
    audit(Action.SESSIONS_ENDED, services(), target=user_id, fields=fields)
