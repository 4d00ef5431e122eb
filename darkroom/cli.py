"""The `darkroom` command."""

import sys

import click

from darkroom import __version__
from darkroom.commands import (
    accounts,
    batch,
    batches,
    edit,
    exits,
    generate,
    jobs,
    offers,
    roles,
    security,
    service,
    usage,
    users,
)
from darkroom.errors import DarkroomError


def main() -> None:
    """Run the command line. What goes wrong on purpose is words on stderr, and a status that
    `darkroom --help` explains."""
    try:
        status = commands.main(standalone_mode=False)
    except DarkroomError as error:
        click.echo(f"Error: {error.detail}", err=True)
        status = exits.FAILED
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        click.echo("Aborted.", err=True)
        status = exits.INTERRUPTED
    sys.exit(status if isinstance(status, int) else exits.OK)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=exits.EXPLAINED,
)
@click.version_option(__version__, prog_name="darkroom")
def commands() -> None:
    """Self-hosted image generation: a prompt goes in, a picture's URL comes out.

    \b
    Start it on this machine, and draw:
      darkroom up
      darkroom generate "a lighthouse at dusk, oil painting" -o pictures

    `darkroom generate`, `edit`, `batch` and `jobs` use the server that `darkroom login` signed in
    to, the one in DARKROOM_SERVER and DARKROOM_KEY, or a `darkroom up` that runs here.

    `darkroom up` runs all of the service on this machine. To run it on several, start `darkroom
    migrate` once, then any number of `darkroom serve` and `darkroom worker` that share a database,
    a broker and a file store.

    Settings are environment variables named DARKROOM_…, among them DARKROOM_PORT (8787),
    DARKROOM_DATA_DIR (./data), DARKROOM_DATABASE_URL, DARKROOM_REDIS_URL and
    DARKROOM_STORAGE_URL; `darkroom settings` lists all.
    """


for each in (
    generate.generate,
    edit.edit,
    batch.batch,
    batches.batches,
    jobs.jobs,
    offers.models,
    offers.engines,
    usage.usage,
    accounts.login,
    accounts.logout,
    service.up,
    service.serve,
    service.worker,
    service.migrate,
    service.show_settings,
    service.see_doctor,
    service.back_up,
    service.prune_pictures,
    security.show_audit,
    security.rotate_key,
    service.show_demo,
    users.user,
    roles.role,
):
    commands.add_command(each)
