"""Roles and their limits."""

from typing import TYPE_CHECKING

import click

from darkroom.commands.starting import start

if TYPE_CHECKING:
    from darkroom.domain import Limits


#: A limit that is a number.
AT_LEAST_ONE = click.IntRange(1, 2**31 - 1)


@click.group()
def role() -> None:
    """Roles: names for what their accounts may ask for."""


@role.command("set")
@click.argument("name")
@click.option("--max-size", metavar="WIDTHxHEIGHT", help="Rectangle that a picture fits in.")
@click.option("--max-pixels", type=AT_LEAST_ONE, help="Most pixels of one picture.")
@click.option("--max-count", type=AT_LEAST_ONE, help="Most pictures of one request.")
@click.option("--max-steps", type=AT_LEAST_ONE, help="Most sampling steps.")
@click.option("--max-queued", type=AT_LEAST_ONE, help="Most jobs that are queued.")
@click.option("--max-running", type=AT_LEAST_ONE, help="Most jobs that run at once.")
@click.option(
    "--requests-per-minute", type=AT_LEAST_ONE, help="Most calls for pictures in a minute."
)
@click.option(
    "--requests-per-minute-per-key", type=AT_LEAST_ONE, help="The same, with one API key."
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="ENGINE/MODEL",
    help="Model that may be used; `*` stands for anything. Can be repeated. [default: all]",
)
def set_role(name: str, max_size: str | None, models: tuple[str, ...], **limits: int) -> None:
    """Make a role, or give one other limits. All of them are replaced."""
    from darkroom.accounts import note, open_current
    from darkroom.domain import Action, Limits, NamedRole, Size

    try:
        size = None if max_size is None else Size.parse(max_size)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--max-size") from error
    made = NamedRole(name=name, limits=Limits(max_size=size, models=models or None, **limits))
    with open_current(start()) as storage:
        storage.roles.put(made)
        note(storage, Action.ROLE_CHANGED, target=name, fields=["limits"])
    click.echo(f"{name}: {_words(made.limits)}")


@role.command("list")
def list_roles() -> None:
    """List all roles and their limits."""
    from darkroom.accounts import open_roles

    with open_roles(start()) as roles:
        for each in roles.list():
            click.echo(f"{each.name}: {_words(each.limits)}")


@role.command("delete")
@click.argument("name")
def delete_role(name: str) -> None:
    """Delete a role that no account has."""
    from darkroom.accounts import note, open_current
    from darkroom.domain import Action

    with open_current(start()) as storage:
        storage.roles.delete(name)
        note(storage, Action.ROLE_DELETED, target=name)


def _words(limits: "Limits") -> str:
    said = {
        name: " ".join(value) if isinstance(value, tuple) else value
        for name, value in vars(limits).items()
        if value is not None
    }
    return ", ".join(f"{name} {value}" for name, value in said.items()) or "no limits"
