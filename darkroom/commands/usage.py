"""`darkroom usage`: what was drawn and spent."""

import click

from darkroom.commands.calling import Caller, calling
from darkroom.commands.exits import EXPLAINED
from darkroom.commands.tables import table


@click.command(epilog=EXPLAINED)
@click.option("--from", "first", metavar="DAY", help="First day, such as 2026-11-01 (UTC).")
@click.option("--to", "last", metavar="DAY", help="Last day. [default: today]")
@click.option("--by", default="user,model", show_default=True, help="Some of user, model, day.")
@click.option("--csv", "as_csv", is_flag=True, help="Print it as CSV, with all columns.")
@calling
def usage(caller: Caller, first: str | None, last: str | None, by: str, as_csv: bool) -> None:
    """Show what was drawn and spent: this month, by user and model.

    Admins see everybody's. A `+?` behind a cost says that the price of some jobs is not known.

    \b
    Examples:
      darkroom usage
      darkroom usage --from 2026-10-01 --to 2026-10-31 --by user,model,day --csv > october.csv
    """
    if as_csv and caller.wants_json:
        raise click.UsageError("Choose one of --csv and --json.")
    with caller.client() as client:
        found = client.usage(first=first, last=last, group_by=by, as_csv=as_csv)
    if as_csv:
        click.echo(found, nl=False)
        return
    rows = [
        (
            each["day"],
            each["email"],
            f"{each['engine']}/{each['model']}" if each["model"] else "",
            each["jobs"],
            each["failed"],
            each["images"],
            each["cost"] + (" +?" if each["unknown_cost"] else ""),
        )
        for each in found["lines"]
    ]
    heads = ("DAY", "USER", "MODEL", "JOBS", "FAILED", "IMAGES", found["currency"])
    shown = [
        column for column in range(len(heads)) if column > 2 or any(row[column] for row in rows)
    ]
    lines = table(
        [heads[column] for column in shown], [[row[column] for column in shown] for row in rows]
    )
    caller.answer(found, f"{found['from']} to {found['to']}", *lines)
