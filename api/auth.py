"""Who is asking: a signed token or an API key, both as `Authorization: Bearer …`."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jwt
import structlog
from flask import Flask, g, request
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException

from api.services import services
from darkroom.domain import User
from darkroom.errors import NotSignedIn, PermissionDenied
from darkroom.secrets import derive_key
from storage.users import KEY_PREFIX

P = ParamSpec("P")
R = TypeVar("R")


def init_tokens(app: Flask, *, secret: str, ttl_s: int) -> None:
    """Let the application sign and read tokens."""
    app.config.update(
        JWT_SECRET_KEY=derive_key(secret, "tokens").hex(),
        JWT_ACCESS_TOKEN_EXPIRES=ttl_s,
        JWT_TOKEN_LOCATION=["headers"],
    )
    JWTManager(app)


def issue_token(user: User) -> tuple[str, int]:
    """A token for the user, and when it expires (Unix time, in seconds)."""
    token: str = create_access_token(user.id)
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
    if g.api_key is not None:
        user = users.by_key(token)
        if user is None:
            raise NotSignedIn("The API key is unknown or revoked: make a new one.")
        return user
    user = users.by_id(_identity(token))
    if user is None:
        raise NotSignedIn("The account of this token is gone or inactive.")
    return user


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


def _identity(token: str) -> str:
    try:
        return str(decode_token(token)["sub"])
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
