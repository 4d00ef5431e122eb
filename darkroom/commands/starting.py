"""What commands that are part of the service have in common."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from darkroom.settings import Settings


def start(**overrides: Any) -> "Settings":
    """What every such command does first: read the settings, and log as they say."""
    import structlog

    from darkroom import logs
    from darkroom.settings import exposed_files, load_settings

    settings = load_settings(**overrides)
    logs.configure(settings)
    for name, path in exposed_files():
        structlog.get_logger(__name__).warning(
            "others on this machine may read or change a secret file: chmod 600",
            variable=name,
            path=str(path),
        )
    return settings


def show_key(key: str) -> None:
    """The key alone on stdout, for scripts; the words beside it on stderr."""
    click.echo("The API key is shown this once, keep it:", err=True)
    click.echo(key)
