"""Users: who has an account, and the keys they call with.

Passwords are hashed with Argon2id. API keys are long random strings, so a plain SHA-256 is
enough to keep them from being read back, and quick enough for every call.
"""

import hashlib
import secrets
import threading
import uuid
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy import Row, bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from darkroom.domain import NO_LIMITS, ApiKey, Limits, Role, User
from darkroom.errors import Conflict, NotFound
from storage.database import Database, epoch_now, upsert
from storage.roles import columns_of, limits_of, refuse_unknown
from storage.tables import api_keys, revoked_tokens, roles, users

KEY_PREFIX = "dk_"

#: A key's last use is noted at most this often, in seconds: a read must not cost a write.
NOTE_USE_EVERY_S = 60

#: An account and its role's limits; an admin has none by the role.
ACCOUNT = select(users, roles.c.limits.label("role_limits")).outerjoin(
    roles, roles.c.name == users.c.role
)

#: How many passwords are hashed at once: each takes 64 MiB, and anybody may sign in.
HASHING = threading.BoundedSemaphore(4)

#: A key that has not expired.
IS_CURRENT = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > epoch_now())

# Asked for every call; built once, because building a statement takes longer than running it.
OF_KEY = (
    ACCOUNT.add_columns(api_keys.c.last_used_at, epoch_now().label("now"))
    .join(api_keys, api_keys.c.user_id == users.c.id)
    .where(api_keys.c.key_hash == bindparam("digest"), users.c.active, IS_CURRENT)
)
OF_TOKEN = ACCOUNT.where(
    users.c.id == bindparam("the_user"),
    users.c.active,
    users.c.token_epoch == bindparam("epoch"),
    ~exists().where(revoked_tokens.c.id == bindparam("token")),
)


class Users:
    """All accounts and API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        *,
        email: str,
        name: str,
        role: str = Role.USER,
        permissions: Collection[str] = (),
        password: str | None = None,
        own_limits: Limits = NO_LIMITS,
    ) -> User:
        """Add an account. Without a password it can only be used by API key.

        Raises Conflict when the e-mail is taken, InvalidRequest when there is no such role.
        """
        user_id = str(uuid.uuid4())
        password_hash = _hash(password) if password is not None else None
        try:
            with self._database.writing() as connection:
                refuse_unknown(connection, role)
                connection.execute(
                    insert(users).values(
                        id=user_id,
                        email=_normal(email),
                        name=name,
                        role=role,
                        permissions=sorted(permissions),
                        password_hash=password_hash,
                        active=True,
                        created_at=epoch_now(),
                        **columns_of(own_limits),
                    )
                )
                row = connection.execute(ACCOUNT.where(users.c.id == user_id)).one()
        except IntegrityError as error:
            raise Conflict(
                f"There is an account for {_normal(email)} already.", param="email"
            ) from error
        return _user(row)

    def update(self, user_id: str, **changes: Any) -> User:
        """Change `name`, `role`, `permissions`, `active`, `password`, `own_limits` or `quotas`.

        A new password, and being made inactive, end all tokens of the account. Raises NotFound, or
        InvalidRequest when there is no such role.
        """
        ends_tokens = "password" in changes or changes.get("active") is False
        if "password" in changes:
            changes["password_hash"] = _hash(changes.pop("password"))
        if "permissions" in changes:
            changes["permissions"] = sorted(changes["permissions"])
        if "own_limits" in changes:
            changes |= columns_of(changes.pop("own_limits"))
        if not changes:
            return self.get(user_id)
        if ends_tokens:
            changes["token_epoch"] = users.c.token_epoch + 1
        with self._database.writing() as connection:
            if "role" in changes:
                refuse_unknown(connection, changes["role"])
            connection.execute(update(users).where(users.c.id == user_id).values(**changes))
            row = connection.execute(ACCOUNT.where(users.c.id == user_id)).one_or_none()
        if row is None:
            raise NotFound(f"There is no user {user_id!r}.")
        return _user(row)

    def get(self, user_id: str) -> User:
        """Raises NotFound."""
        with self._database.reading() as connection:
            row = connection.execute(ACCOUNT.where(users.c.id == user_id)).one_or_none()
        if row is None:
            raise NotFound(f"There is no user {user_id!r}.")
        return _user(row)

    def limits_of(self, user_id: str) -> Limits:
        """What holds for an account. Raises NotFound."""
        return self.get(user_id).limits

    def list(self, *, limit: int = 50, offset: int = 0) -> Sequence[User]:
        """The oldest accounts first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                ACCOUNT.order_by(users.c.created_at, users.c.id).limit(limit).offset(offset)
            )
            return [_user(row) for row in rows]

    def have_admin(self) -> bool:
        """Whether anyone can administer the service."""
        with self._database.reading() as connection:
            found = connection.scalar(
                select(func.count()).select_from(users).where(users.c.role == Role.ADMIN)
            )
        return bool(found)

    def by_password(self, email: str, password: str) -> User | None:
        """The active account with this e-mail and password.

        Takes as long for an unknown e-mail as for a wrong password.
        """
        with self._database.reading() as connection:
            row = connection.execute(ACCOUNT.where(users.c.email == _normal(email))).one_or_none()
        stored = row.password_hash if row is not None else None
        try:
            with HASHING:
                PasswordHasher().verify(stored or _unknown_hash(), password)
        except VerifyMismatchError:
            return None
        return _user(row) if row is not None and stored and row.active else None

    def by_email(self, email: str) -> User | None:
        """The account with this e-mail, active or not."""
        with self._database.reading() as connection:
            row = connection.execute(ACCOUNT.where(users.c.email == _normal(email))).one_or_none()
        return _user(row) if row is not None else None

    def by_token(self, user_id: str, *, token_id: str, epoch: int) -> User | None:
        """The active account with this id, unless it ended this token, or all of its epoch."""
        with self._database.reading() as connection:
            row = connection.execute(
                OF_TOKEN, {"the_user": user_id, "epoch": epoch, "token": token_id}
            ).one_or_none()
        return _user(row) if row is not None else None

    def revoke_token(self, token_id: str, *, expires_at: float) -> None:
        """End one token; doing it again does no harm. Forgets those that have expired since."""
        with self._database.writing() as connection:
            connection.execute(
                delete(revoked_tokens).where(revoked_tokens.c.expires_at < epoch_now())
            )
            connection.execute(
                upsert(connection, revoked_tokens)
                .values(id=token_id, expires_at=expires_at)
                .on_conflict_do_nothing()
            )

    def end_sessions(self, user_id: str, *, api_keys_too: bool = False) -> None:
        """End all tokens of an account, and revoke its API keys if told to. Raises NotFound."""
        with self._database.writing() as connection:
            found = connection.execute(
                update(users)
                .where(users.c.id == user_id)
                .values(token_epoch=users.c.token_epoch + 1)
            ).rowcount
            if found and api_keys_too:
                connection.execute(delete(api_keys).where(api_keys.c.user_id == user_id))
        if not found:
            raise NotFound(f"There is no user {user_id!r}.")

    def by_key(self, key: str) -> User | None:
        """The active account this API key belongs to."""
        digest = _digest(key)
        with self._database.reading() as connection:
            row = connection.execute(OF_KEY, {"digest": digest}).one_or_none()
        if row is None:
            return None
        if row.last_used_at is None or row.last_used_at < row.now - NOTE_USE_EVERY_S:
            self._note_use(digest)
        return _user(row)

    def is_open(self, key: str) -> bool:
        """Whether this API key opens an account at the moment. Notes no use."""
        with self._database.reading() as connection:
            return bool(
                connection.scalar(
                    select(func.count())
                    .select_from(api_keys.join(users, api_keys.c.user_id == users.c.id))
                    .where(api_keys.c.key_hash == _digest(key), users.c.active, IS_CURRENT)
                )
            )

    def key_id(self, key: str) -> str | None:
        """The id of an API key, by its secret."""
        with self._database.reading() as connection:
            return connection.scalar(
                select(api_keys.c.id).where(api_keys.c.key_hash == _digest(key))
            )

    def create_key(
        self, user_id: str, *, name: str, expires_at: float | None = None
    ) -> tuple[ApiKey, str]:
        """Make an API key. Its secret is returned this once and cannot be read back."""
        secret = KEY_PREFIX + secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            row = connection.execute(
                insert(api_keys)
                .values(
                    id=str(uuid.uuid4()),
                    user_id=user_id,
                    name=name,
                    prefix=secret[: len(KEY_PREFIX) + 6],
                    key_hash=_digest(secret),
                    created_at=epoch_now(),
                    expires_at=expires_at,
                )
                .returning(api_keys)
            ).one()
        return _key(row), secret

    def keys_of(self, user_id: str) -> Sequence[ApiKey]:
        """A user's API keys, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(api_keys)
                .where(api_keys.c.user_id == user_id)
                .order_by(api_keys.c.created_at, api_keys.c.id)
            )
            return [_key(row) for row in rows]

    def delete_key(self, user_id: str, key_id: str) -> None:
        """Revoke an API key at once. Raises NotFound."""
        with self._database.writing() as connection:
            gone = connection.execute(
                delete(api_keys).where(api_keys.c.id == key_id, api_keys.c.user_id == user_id)
            ).rowcount
        if not gone:
            raise NotFound(f"There is no API key {key_id!r}.")

    def _note_use(self, digest: str) -> None:
        with self._database.writing() as connection:
            connection.execute(
                update(api_keys)
                .where(
                    api_keys.c.key_hash == digest,
                    or_(
                        api_keys.c.last_used_at.is_(None),
                        api_keys.c.last_used_at < epoch_now() - NOTE_USE_EVERY_S,
                    ),
                )
                .values(last_used_at=epoch_now())
            )


def _normal(email: str) -> str:
    return email.strip().lower()


def _hash(password: str) -> str:
    with HASHING:
        return PasswordHasher().hash(password)


@lru_cache(maxsize=1)
def _unknown_hash() -> str:
    return _hash(secrets.token_urlsafe(16))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _user(row: Row[Any]) -> User:
    own_limits = limits_of(row.limits)
    return User(
        id=row.id,
        email=row.email,
        name=row.name,
        role=row.role,
        permissions=frozenset(row.permissions),
        active=row.active,
        created_at=row.created_at,
        quotas=row.quotas or {},
        limits=own_limits.over(limits_of(row.role_limits)),
        own_limits=own_limits,
        token_epoch=row.token_epoch,
    )


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        prefix=row.prefix,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
    )
