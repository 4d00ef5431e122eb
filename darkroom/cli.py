"""The `darkroom` command."""

import sys
from pathlib import Path
from typing import Any

import click

from darkroom import __version__, logs
from darkroom.errors import DarkroomError
from darkroom.settings import Settings, load_settings, settings_table


def main() -> None:
    """Run the command line. What goes wrong on purpose is one line on stderr, and status 1."""
    try:
        commands()
    except DarkroomError as error:
        click.echo(f"Error: {error.detail}", err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="darkroom")
def commands() -> None:
    """Self-hosted image generation: a prompt goes in, a picture's URL comes out.

    `darkroom up` runs all of it on this machine. To run it on several, start `darkroom migrate`
    once, then any number of `darkroom serve` and `darkroom worker` that share a database, a
    broker and a file store.

    Settings are environment variables named DARKROOM_…, among them DARKROOM_PORT (8787),
    DARKROOM_DATA_DIR (./data), DARKROOM_DATABASE_URL, DARKROOM_REDIS_URL and
    DARKROOM_STORAGE_URL; `darkroom settings` lists all.
    """


@commands.command()
def up() -> None:
    """Run everything here: broker, worker and API.

    The first start creates an admin and prints an API key, once. Stop it with Ctrl-C: running
    calls and jobs may finish first; a second Ctrl-C hurries them.
    """
    from darkroom import launcher

    launcher.up(_start(), click.echo)


@commands.command()
@click.option("--listener", type=int, hidden=True, help="Descriptor of a socket that listens.")
def serve(listener: int | None) -> None:
    """Run the API alone, on DARKROOM_HOST and DARKROOM_PORT."""
    from api.server import serve

    serve(_start(), listener=listener)


@commands.command()
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    help="Jobs to run at once. [default: DARKROOM_WORKER_CONCURRENCY, or 16]",
)
def worker(concurrency: int | None) -> None:
    """Run one worker alone: it takes jobs from the queue and has them drawn."""
    from worker.celery import run

    run(_start(**({} if concurrency is None else {"worker_concurrency": concurrency})))


@commands.command()
def migrate() -> None:
    """Bring the database's schema up to date.

    Run it before a new release starts; doing it twice does no harm. It also creates the first
    admin (DARKROOM_ADMIN_EMAIL) where there is none, and prints an API key, once.
    """
    from darkroom.first_start import prepare

    admin = prepare(_start())
    click.echo("The schema is up to date.", err=True)
    if admin is not None:
        click.echo(f"Created the admin {admin.email}.", err=True)
        _show_key(admin.key)


@commands.command("settings")
def show_settings() -> None:
    """Print every setting with its default, as a Markdown table."""
    click.echo(settings_table())


@commands.command("doctor")
def see_doctor() -> None:
    """Say what works, and what is wrong and how to put it right.

    Looks at the database, the file store, the broker and every enabled engine, at no cost. The
    status is 1 when something failed.
    """
    from darkroom.doctor import examine

    is_well = True
    for each in examine(_start()):
        click.echo(str(each))
        is_well = is_well and each.is_well
    if not is_well:
        sys.exit(1)


@commands.command("prune")
@click.option("--days", type=click.FloatRange(min=0), help="Delete pictures older than this.")
@click.option(
    "--mb-per-user", type=click.IntRange(min=0), help="Keep so much of each user's newest pictures."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
def prune_pictures(days: float | None, mb_per_user: int | None, dry_run: bool) -> None:
    """Delete old pictures now, by the limits in the settings or those given here.

    Workers do the same by themselves, every few minutes, when DARKROOM_KEEP_IMAGES_DAYS or
    DARKROOM_KEEP_IMAGES_MB_PER_USER is set.
    """
    from darkroom.pruning import prune

    prune(_start(), days=days, mb_per_user=mb_per_user, is_dry_run=dry_run, say=click.echo)


@commands.command("demo")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("darkroom-demo.png"),
    show_default=True,
    help="File or folder for the picture.",
)
def show_demo(output: Path) -> None:
    """Show that it works: start everything on a free port, have one picture drawn, stop.

    Touches nothing but a temporary folder and the picture it leaves you.
    """
    from darkroom import demo

    demo.run(output, click.echo)


@commands.group()
def user() -> None:
    """Accounts and their API keys."""


@user.command("add")
@click.argument("email")
@click.option("--name", help="Name to show. [default: the e-mail]")
@click.option("--admin", is_flag=True, help="May administer everything.")
@click.option("--password-stdin", is_flag=True, help="Read a password from standard input.")
def add_user(email: str, name: str | None, admin: bool, password_stdin: bool) -> None:
    """Create an account and print its first API key."""
    from darkroom.accounts import open_users
    from darkroom.domain import Role

    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    if password == "":
        raise click.UsageError("--password-stdin was given, but standard input is empty.")
    settings = _start()
    with open_users(settings) as users:
        account = users.create(
            email=email,
            name=name or email,
            role=Role.ADMIN if admin else Role.USER,
            permissions=settings.default_permissions,
            password=password,
        )
        _, key = users.create_key(account.id, name="first key")
    click.echo(f"Created {account.email}.", err=True)
    _show_key(key)


@user.command("list")
def list_users() -> None:
    """List all accounts, the oldest first."""
    from darkroom.accounts import everyone, open_users

    with open_users(_start()) as users:
        for each in everyone(users):
            state = "" if each.active else "  (disabled)"
            click.echo(f"{each.email}  {each.role}  {each.name}{state}")


@user.command("key")
@click.argument("email")
@click.option("--name", default="from the command line", show_default=True, help="What it is for.")
def add_key(email: str, name: str) -> None:
    """Create another API key for an account and print it."""
    from darkroom.accounts import open_users, with_email

    with open_users(_start()) as users:
        _, key = users.create_key(with_email(users, email).id, name=name)
    _show_key(key)


def _start(**overrides: Any) -> Settings:
    """What every command does first: read the settings, and log as they say."""
    settings = load_settings(**overrides)
    logs.configure(settings)
    return settings


def _show_key(key: str) -> None:
    """The key alone on stdout, for scripts; the words beside it on stderr."""
    click.echo("The API key is shown this once, keep it:", err=True)
    click.echo(key)
