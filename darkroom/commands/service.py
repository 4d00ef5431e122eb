"""Commands that run and look after a Darkroom on this machine."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from darkroom.commands.starting import show_key, start


@click.command()
def up() -> None:
    """Run everything here: broker, worker and API.

    The first start creates an admin and prints an API key, once. Stop it with Ctrl-C: running
    calls and jobs may finish first; a second Ctrl-C hurries them.
    """
    from darkroom import launcher

    launcher.up(start(), click.echo)


@click.command()
@click.option("--listener", type=int, hidden=True, help="Descriptor of a socket that listens.")
def serve(listener: int | None) -> None:
    """Run the API alone, on DARKROOM_HOST and DARKROOM_PORT."""
    from api.server import serve

    serve(start(), listener=listener)


@click.command()
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    help="Jobs to run at once. [default: DARKROOM_WORKER_CONCURRENCY, or 16]",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    help="Take jobs of this engine; may be repeated. [default: DARKROOM_WORKER_ENGINES, or all]",
)
def worker(concurrency: int | None, engines: tuple[str, ...]) -> None:
    """Run one worker alone: it takes jobs from the queue and has them drawn."""
    from worker.celery import run

    chosen: dict[str, Any] = {}
    if concurrency is not None:
        chosen["worker_concurrency"] = concurrency
    if engines:
        chosen["worker_engines"] = engines
    run(start(**chosen))


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date.

    Run it before a new release starts; doing it twice does no harm. It also creates the first
    admin (DARKROOM_ADMIN_EMAIL) where there is none, and prints an API key, once.
    """
    from darkroom.first_start import prepare

    admin = prepare(start())
    click.echo("The schema is up to date.", err=True)
    if admin is not None:
        click.echo(f"Created the admin {admin.email}.", err=True)
        show_key(admin.key)


@click.command("settings")
def show_settings() -> None:
    """Print every setting with its default, as a Markdown table."""
    from darkroom.settings import settings_table

    click.echo(settings_table())


@click.command("doctor")
@click.option("--json", "wants_json", is_flag=True, help="Print the result as JSON.")
def see_doctor(*, wants_json: bool) -> None:
    """Say what works, and what is wrong and how to put it right.

    Looks at this machine, the database, the file store, the broker, the workers, the clocks and
    every enabled engine, at no cost. The status is 1 when something failed; a warning is not yet a
    failure.
    """
    from darkroom.doctor import Grade, examine

    found = []
    for each in examine(start()):
        found.append(each)
        if not wants_json:
            click.echo(str(each))
    if wants_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
    if any(each.grade is Grade.FAILED for each in found):
        sys.exit(1)


@click.command("backup")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def back_up(folder: Path) -> None:
    """Copy the data folder to FOLDER, while it is in use.

    The copy is a data folder itself: start it with DARKROOM_DATA_DIR, or put it in place of a lost
    one. Doing it again copies only what is new.
    """
    from darkroom.backup import back_up

    back_up(start(), folder, click.echo)


@click.command("prune")
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

    prune(start(), days=days, mb_per_user=mb_per_user, is_dry_run=dry_run, say=click.echo)


@click.command("demo")
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
