"""Accounts: signing in, signing up, one's own profile and keys."""

from typing import Any

from flask import request

from api.account_schemas import (
    ApiKeySchema,
    CreatedApiKeySchema,
    NewApiKeySchema,
    PasswordChangeSchema,
    SessionSchema,
    SigninSchema,
    SignupSchema,
    UserSchema,
)
from api.auditing import audit, audit_sign_in
from api.auth import current_session, current_user, issue_token, signed_in
from api.blueprints import Blueprint
from api.services import services
from darkroom.domain import Action, ApiKey, Outcome, User
from darkroom.errors import Conflict, Disabled, InvalidRequest, NotSignedIn

accounts = Blueprint("accounts", __name__, description="Signing in, and one's own account")


@accounts.post("/signin")
@accounts.arguments(SigninSchema)
@accounts.response(200, SessionSchema)
@accounts.problems(400, 401, 413, 415, 429, 503)
def sign_in(credentials: dict[str, str]) -> dict[str, Any]:
    """Trade e-mail and password for a token."""
    user = _by_password(credentials["email"], credentials["password"])
    if user is None:
        audit_sign_in(credentials["email"], services())
        raise NotSignedIn("E-mail or password is wrong, or the account is inactive.")
    audit(Action.SIGN_IN, services(), by=user, target=user.id)
    return _session(user)


@accounts.post("/signout")
@signed_in
@accounts.response(204)
@accounts.problems(401, 409, 503)
def sign_out() -> None:
    """End the token this call was made with; other sign-ins of the account go on."""
    session = current_session()
    if session is None:
        raise Conflict("An API key is no sign-in: revoke it by its id, or leave it as it is.")
    services().storage.users.revoke_token(session.token_id, expires_at=session.expires_at)
    audit(Action.SIGN_OUT, services(), target=session.user_id)


@accounts.post("/signup")
@accounts.arguments(SignupSchema)
@accounts.response(201, SessionSchema)
@accounts.problems(400, 403, 409, 413, 415, 429, 503)
def sign_up(new: dict[str, Any]) -> dict[str, Any]:
    """Create an account, where the server allows that."""
    if not services().settings.enable_signup:
        raise Disabled("Signing up is switched off on this server: ask an admin for an account.")
    sign_ins, address = services().sign_ins, _address()
    sign_ins.refuse_address(address)
    sign_ins.failed(address)
    user = services().storage.users.create(
        **new, permissions=services().settings.default_permissions
    )
    audit(Action.SIGN_UP, services(), by=user, target=user.id)
    return _session(user)


@accounts.get("/")
@signed_in
@accounts.response(200, UserSchema)
@accounts.problems(401, 503)
def read_profile() -> User:
    """One's own account."""
    return current_user()


@accounts.post("/update/password")
@signed_in
@accounts.arguments(PasswordChangeSchema)
@accounts.response(204)
@accounts.problems(400, 401, 413, 415, 429, 503)
def change_password(change: dict[str, str]) -> None:
    """Change one's own password. All tokens of before end, this one too; API keys stay."""
    if _by_password(current_user().email, change["password"]) is None:
        audit(
            Action.PASSWORD_CHANGED,
            services(),
            target=current_user().id,
            outcome=Outcome.REFUSED,
        )
        raise InvalidRequest("The current password is wrong.", param="password")
    services().storage.users.update(current_user().id, password=change["new_password"])
    audit(Action.PASSWORD_CHANGED, services(), target=current_user().id)


@accounts.get("/api_key")
@signed_in
@accounts.response(200, ApiKeySchema(many=True))
@accounts.problems(401, 503)
def list_keys() -> list[ApiKey]:
    """One's own API keys, without their secrets."""
    return list(services().storage.users.keys_of(current_user().id))


@accounts.post("/api_key")
@signed_in
@accounts.arguments(NewApiKeySchema, required=False)
@accounts.response(201, CreatedApiKeySchema)
@accounts.problems(400, 401, 413, 415, 503)
def create_key(new: dict[str, Any]) -> dict[str, Any]:
    """Make an API key. Its secret is in this answer, and nowhere else ever after."""
    key, secret = services().storage.users.create_key(current_user().id, **new)
    audit(Action.KEY_CREATED, services(), target=key.id)
    return {**vars(key), "api_key": secret}


@accounts.delete("/api_key/<key_id>")
@signed_in
@accounts.response(204)
@accounts.problems(401, 404, 503)
def delete_key(key_id: str) -> None:
    """Revoke an API key."""
    services().storage.users.delete_key(current_user().id, key_id)
    audit(Action.KEY_REVOKED, services(), target=key_id)


def _by_password(email: str, password: str) -> User | None:
    """The active account with this password. Raises TooManySignIns."""
    sign_ins, address = services().sign_ins, _address()
    sign_ins.attempt(email, address)
    user = services().storage.users.by_password(email, password)
    if user is None:
        sign_ins.failed(address)
    else:
        sign_ins.succeeded(email)
    return user


def _address() -> str:
    """Where the caller is; all callers by a unix socket are one."""
    return request.remote_addr or "local"


def _session(user: User) -> dict[str, Any]:
    token, expires_at = issue_token(user)
    return {**vars(user), "token": token, "token_type": "Bearer", "expires_at": expires_at}
