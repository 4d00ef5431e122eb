"""Accounts and their API keys."""

import sys

import click

from darkroom.commands.starting import show_key, start


@click.group()
def user() -> None:
    """Accounts and their API keys."""


@user.command("add")
@click.argument("email")
@click.option("--name", help="Name to show. [default: the e-mail]")
@click.option("--admin", is_flag=True, help="May administer everything.")
@click.option("--role", help="Role whose limits hold for it: see `darkroom role list`.")
@click.option("--password-stdin", is_flag=True, help="Read a password from standard input.")
def add_user(
    email: str, name: str | None, admin: bool, role: str | None, password_stdin: bool
) -> None:
    """Create an account and print its first API key."""
    from darkroom.accounts import note, open_current
    from darkroom.domain import Action, Role

    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    if password == "":
        raise click.UsageError("--password-stdin was given, but standard input is empty.")
    if admin and role is not None:
        raise click.UsageError("--admin is a role: leave out --role.")
    settings = start()
    with open_current(settings) as storage:
        account = storage.users.create(
            email=email,
            name=name or email,
            role=Role.ADMIN if admin else role or Role.USER,
            permissions=settings.default_permissions,
            password=password,
        )
        made, key = storage.users.create_key(account.id, name="first key")
        note(storage, Action.USER_CREATED, target=account.id)
        note(storage, Action.KEY_CREATED, target=made.id)
    click.echo(f"Created {account.email}.", err=True)
    show_key(key)


@user.command("list")
def list_users() -> None:
    """List all accounts, the oldest first."""
    from darkroom.accounts import everyone, open_users

    with open_users(start()) as users:
        for each in everyone(users):
            state = "" if each.active else "  (disabled)"
            click.echo(f"{each.email}  {each.role}  {each.name}{state}")


@user.command("quota")
@click.argument("email")
@click.option("--images-per-day", metavar="N", help="Most images in a day; `none` for any.")
@click.option("--images-per-month", metavar="N", help="Most images in a month; `none` for any.")
@click.option("--budget-per-day", metavar="MONEY", help="Most money in a day; `none` for any.")
@click.option("--budget-per-month", metavar="MONEY", help="Most money in a month; `none` for any.")
@click.option("--defaults", is_flag=True, help="Forget what was set before: the defaults hold.")
def set_quota(email: str, defaults: bool, **wanted: str | None) -> None:
    """Show what an account may have drawn and spend, or change what is named."""
    from darkroom.accounts import note, open_current, with_email
    from darkroom.domain import Action
    from darkroom.quotas import amount

    changes = {name: _limit(name, text) for name, text in wanted.items() if text is not None}
    with open_current(start()) as storage:
        account = with_email(storage.users, email)
        if changes or defaults:
            kept = {} if defaults else dict(account.quotas)
            account = storage.users.update(account.id, quotas=kept | changes)
            note(storage, Action.USER_CHANGED, target=account.id, fields=["quotas"])
    for name in wanted:
        shown = "default"
        if name in account.quotas:
            limit = account.quotas[name]
            is_money = name.startswith("budget")
            shown = "none" if limit is None else amount(limit) if is_money else str(limit)
        click.echo(f"{name.replace('_', ' ')}: {shown}")


def _limit(name: str, text: str) -> int | None:
    """What an option says: a count, an amount in millionths, or None for any."""
    from decimal import Decimal, InvalidOperation

    from darkroom.quotas import MOST_IMAGES, MOST_MONEY, millionths

    if text == "none":
        return None
    option = f"--{name.replace('_', '-')}"
    try:
        read = Decimal(text)
    except InvalidOperation:
        raise click.UsageError(f"{option}: {text!r} is no number, nor `none`.") from None
    is_money = name.startswith("budget")
    most = MOST_MONEY if is_money else MOST_IMAGES
    if not 0 <= read <= most or not (is_money or read == read.to_integral_value()):
        raise click.UsageError(f"{option}: {text} must be from 0 to {most:,}.")
    return millionths(read) if is_money else int(read)


@user.command("role")
@click.argument("email")
@click.argument("role")
def give_role(email: str, role: str) -> None:
    """Give an account a role; its limits hold from the next request on."""
    from darkroom.accounts import note, open_current, with_email
    from darkroom.domain import Action

    with open_current(start()) as storage:
        account = with_email(storage.users, email)
        account = storage.users.update(account.id, role=role)
        note(storage, Action.USER_CHANGED, target=account.id, fields=["role"])
    click.echo(f"{account.email} has the role {account.role}.")


@user.command("key")
@click.argument("email")
@click.option("--name", default="from the command line", show_default=True, help="What it is for.")
def add_key(email: str, name: str) -> None:
    """Create another API key for an account and print it."""
    from darkroom.accounts import note, open_current, with_email
    from darkroom.domain import Action

    with open_current(start()) as storage:
        made, key = storage.users.create_key(with_email(storage.users, email).id, name=name)
        note(storage, Action.KEY_CREATED, target=made.id)
    show_key(key)


@user.command("signout")
@click.argument("email")
@click.option("--keys", is_flag=True, help="Revoke the API keys, too.")
def end_sessions(email: str, keys: bool) -> None:
    """End all sign-ins of an account at once."""
    from darkroom.accounts import note, open_current, with_email
    from darkroom.domain import Action

    with open_current(start()) as storage:
        account = with_email(storage.users, email)
        storage.users.end_sessions(account.id, api_keys_too=keys)
        note(
            storage,
            Action.SESSIONS_ENDED,
            target=account.id,
            fields=["api_keys"] if keys else [],
        )
    click.echo(f"Signed {account.email} out.", err=True)
