"""Who is asking: a signed token or an API key, both as `Authorization: Bearer …`.

A token names the account, the account's epoch at that moment, its own id, and the secret it was
signed with. The account's row and the list of signed-out tokens say whether it still counts.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jwt
import structlog
from flask import Flask, current_app, g, request
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException

from api.services import Services, services
from darkroom.domain import User
from darkroom.errors import NotSignedIn, PermissionDenied, Unavailable
from darkroom.secrets import derive_key, key_name
from storage.users import KEY_PREFIX, Users

P = ParamSpec("P")
R = TypeVar("R")


#: How often a long answer asks whether its token or key still counts, in seconds.
LOOK_AGAIN_EVERY_S = 3.0

EPOCH = "epoch"


@dataclass(frozen=True, kw_only=True)
class Session:
    """One sign-in, as its token tells of it."""

    user_id: str
    token_id: str
    epoch: int
    expires_at: float


def init_tokens(app: Flask, *, secrets: Sequence[str], ttl_s: int) -> None:
    """Let the application sign tokens with the first secret, and read those of all."""
    keys = {key_name(each): derive_key(each, "tokens").hex() for each in secrets}
    current = key_name(secrets[0])
    app.config.update(
        JWT_SECRET_KEY=keys[current],
        TOKEN_HEADERS={"kid": current},
        JWT_ACCESS_TOKEN_EXPIRES=ttl_s,
        JWT_TOKEN_LOCATION=["headers"],
    )
    manager = JWTManager(app)

    @manager.decode_key_loader
    def key_for(header: dict[str, Any], claims: dict[str, Any]) -> str:
        # Whatever a forger names, the signature is checked with a key of ours.
        return keys.get(str(header.get("kid")), keys[current])


def issue_token(user: User) -> tuple[str, int]:
    """A token for the user, and when it expires (Unix time, in seconds)."""
    token: str = create_access_token(
        user.id,
        additional_claims={EPOCH: user.token_epoch},
        additional_headers=current_app.config["TOKEN_HEADERS"],
    )
    return token, int(decode_token(token)["exp"])


def signed_in(handler: Callable[P, R]) -> Callable[P, R]:
    """Only for people with a valid token or key; `current_user()` tells who."""

    @wraps(handler)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        g.user = _authenticate()
        structlog.contextvars.bind_contextvars(user_id=g.user.id)
        return handler(*args, **kwargs)

    _document_security(wrapper)
    return wrapper


def admins_only(handler: Callable[P, R]) -> Callable[P, R]:
    """Only for admins."""

    @wraps(handler)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if not current_user().is_admin:
            raise PermissionDenied("This is for admins: sign in as one.")
        return handler(*args, **kwargs)

    return signed_in(wrapper)


def permitted(permission: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Only for people with the permission; admins have all."""

    def decorate(handler: Callable[P, R]) -> Callable[P, R]:
        @wraps(handler)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            if not current_user().may(permission):
                raise PermissionDenied(
                    f"Your account lacks the permission {permission!r}: ask an admin for it."
                )
            return handler(*args, **kwargs)

        return signed_in(wrapper)

    return decorate


def current_user() -> User:
    """Who is asking, in a handler that says `signed_in`."""
    user: User = g.user
    return user


def current_session() -> Session | None:
    """The sign-in whose token was sent; None where an API key was."""
    session: Session | None = g.session
    return session


def current_key() -> str | None:
    """The API key that was sent, if one was."""
    key: str | None = g.get("api_key")
    return key


def ended(services: Services) -> Callable[[], bool]:
    """Whether the token or key of this call counts no longer, for answers that go on for long.

    What is returned may be called outside of the request, as often as one likes. While the
    database is away nothing ends.
    """
    key, session, users = current_key(), current_session(), services.storage.users
    looked_at = time.monotonic()

    def has_ended() -> bool:
        nonlocal looked_at
        if time.monotonic() - looked_at < LOOK_AGAIN_EVERY_S:
            return False
        looked_at = time.monotonic()
        try:
            if key is not None:
                return not users.is_open(key)
            return session is not None and _user_of(session, users) is None
        except Unavailable:
            return False

    return has_ended


def visible_owner(*, everyone: bool) -> str | None:
    """Whose things a list shows: the caller's own, or everyone's for an admin who asks."""
    if not everyone:
        return current_user().id
    if not current_user().is_admin:
        raise PermissionDenied("Only admins may see everyone's: leave out `all`.", param="all")
    return None


def accessible_owner() -> str | None:
    """Whose things may be looked up by id: one's own, or anyone's for an admin."""
    return None if current_user().is_admin else current_user().id


def _authenticate() -> User:
    token = _bearer()
    users = services().storage.users
    #: The API key of this call; None for a token.
    g.api_key = token if token.startswith(KEY_PREFIX) else None
    g.session = None
    if g.api_key is not None:
        user = users.by_key(token)
        if user is None:
            raise NotSignedIn("The API key is unknown, revoked or expired: make a new one.")
        return user
    g.session = _session(token)
    user = _user_of(g.session, users)
    if user is None:
        raise NotSignedIn(
            "This sign-in was ended, or the account is gone or inactive: sign in again."
        )
    return user


def _user_of(session: Session, users: Users) -> User | None:
    if session.expires_at <= time.time():
        return None
    return users.by_token(session.user_id, token_id=session.token_id, epoch=session.epoch)


def _bearer() -> str:
    header = request.headers.get("Authorization", "")
    if not header and (key := request.headers.get("api-key", "").strip()):
        # As Azure's clients send it.
        return key
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotSignedIn(
            "Send a token from /api/v1/auths/signin or an API key as"
            " `Authorization: Bearer <token>`.",
            param="Authorization",
        )
    return token.strip()


def _session(token: str) -> Session:
    try:
        claims = decode_token(token)
        return Session(
            user_id=str(claims["sub"]),
            token_id=str(claims["jti"]),
            epoch=int(claims.get(EPOCH, 0)),
            expires_at=float(claims["exp"]),
        )
    except jwt.ExpiredSignatureError as error:
        raise NotSignedIn("The token expired: sign in again.", param="Authorization") from error
    except (jwt.InvalidTokenError, JWTExtendedException) as error:
        raise NotSignedIn(
            "The token is not valid: sign in again.", param="Authorization"
        ) from error


def _document_security(handler: Callable[P, R]) -> None:
    """Say in the OpenAPI document that the operation needs a token."""
    documented = handler.__dict__.setdefault("_apidoc", {})
    documented.setdefault("manual_doc", {})["security"] = [{"bearer": []}]
