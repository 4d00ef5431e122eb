"""What `darkroom login` keeps: one server and a key for it, readable by its owner only."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

FILE = "login.json"


@dataclass(frozen=True, kw_only=True)
class Login:
    """A server that was signed in to."""

    url: str
    key: str = field(repr=False)
    #: The key's id where the sign-in made it, so that signing out can revoke it.
    key_id: str | None = None
    email: str | None = None


def login_file() -> Path:
    """In the user's configuration folder, by the customs of the platform."""
    return Path(click.get_app_dir("darkroom")) / FILE


def read_login() -> Login | None:
    """The kept login; None when there is none, or what is there is none of ours."""
    try:
        return Login(**json.loads(login_file().read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def keep_login(login: Login) -> Path:
    """Replace the kept login. Raises OSError."""
    path = login_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(login), file)
    return draft.replace(path)


def forget_login() -> None:
    login_file().unlink(missing_ok=True)
