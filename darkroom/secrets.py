"""The service's one secret, and what is derived from it.

One random string signs tokens and encrypts engine keys. Each use gets a key of its own, so that
one leaking says nothing about the other.
"""

import base64
import contextlib
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from darkroom.errors import SettingsError
from darkroom.settings import Settings

SECRET_FILE = "secret.key"  # noqa: S105 - a file's name


def service_secret(settings: Settings) -> str:
    """The configured secret, or the one kept in the data folder (made at first use, mode 0600).

    Raises SettingsError when several machines may share the database and none is configured:
    each would make its own, and none could read the others' tokens.
    """
    if settings.secret_key is not None:
        return settings.secret_key
    if settings.is_shared:
        raise SettingsError(
            "DARKROOM_SECRET_KEY is not set: with a shared database every process needs the same"
            " one. Make it with `openssl rand -hex 32`."
        )
    path = settings.data_dir / SECRET_FILE
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        _write_private(path, secrets.token_urlsafe(48))
    return path.read_text().strip()


def service_secrets(settings: Settings) -> tuple[str, ...]:
    """The secret that is written with, then those that are still read with. As `service_secret`."""
    return (service_secret(settings), *settings.secret_key_previous)


def _write_private(path: Path, text: str) -> None:
    """Create `path` readable by its owner only, complete or not at all."""
    # Not named after the process: those of two containers on one volume have the same number.
    draft = path.with_suffix(f".{secrets.token_hex(8)}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    try:
        os.link(draft, path)
    finally:
        draft.unlink()


def derive_key(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose."""
    return HKDF(
        algorithm=SHA256(), length=32, salt=None, info=f"darkroom {purpose}".encode()
    ).derive(secret.encode())


def key_name(secret: str) -> str:
    """Tells secrets apart, and nothing about them."""
    return derive_key(secret, "name").hex()[:16]


class SecretBox:
    """Encrypts what must not lie in the database as plain text.

    Seals with the first secret, and opens what was sealed with any of them.
    """

    def __init__(self, secret: str, *previous: str) -> None:
        self._fernet = MultiFernet(
            [
                Fernet(base64.urlsafe_b64encode(derive_key(each, "config")))
                for each in (secret, *previous)
            ]
        )

    def seal(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises SettingsError when it was sealed with another secret."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise SettingsError(
                "A stored engine key cannot be read: DARKROOM_SECRET_KEY is not the one it was"
                " saved with. Set the old one in DARKROOM_SECRET_KEY_PREVIOUS, or save the key"
                " anew."
            ) from error
