"""Commands for those who answer for a Darkroom's safety."""

from datetime import UTC, datetime

import click

from darkroom.commands.starting import start
from darkroom.domain import Action


@click.command("audit")
@click.option("--action", type=click.Choice([each.value for each in Action]), help="Only these.")
@click.option("--email", help="Only what this account did.")
@click.option(
    "--days", type=click.FloatRange(min=0), help="Only of the last days. [default: all there are]"
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def show_audit(
    action: str | None, email: str | None, days: float | None, limit: int, as_json: bool
) -> None:
    """Who changed what, and who signed in, newest first.

    Reads the database; `GET /api/v1/audit` tells admins the same. Entries are kept for
    DARKROOM_KEEP_AUDIT_DAYS.
    """
    import time
    from dataclasses import asdict

    import orjson

    from darkroom.accounts import everyone, open_current, with_email

    with open_current(start()) as storage:
        entries = storage.audit.list(
            action=Action(action) if action else None,
            user_id=with_email(storage.users, email).id if email else None,
            since=time.time() - days * 24 * 3600 if days is not None else None,
            limit=limit,
        )
        emails = {each.id: each.email for each in everyone(storage.users)}
    for each in entries:
        if as_json:
            click.echo(orjson.dumps(asdict(each)).decode())
            continue
        at = datetime.fromtimestamp(each.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        by = emails.get(each.user_id, each.user_id) if each.user_id else "-"
        target = emails.get(each.target, each.target) if each.target else "-"
        names = f"  ({', '.join(each.fields)})" if each.fields else ""
        what = f"{each.action} {each.outcome}"
        click.echo(f"{at}  {what}  by {by} from {each.address}: {target}{names}")


@click.command("rotate-key")
def rotate_key() -> None:
    """Encrypt the stored engine keys with the DARKROOM_SECRET_KEY of now.

    \b
    To change the secret:
      1. Set DARKROOM_SECRET_KEY to the new one, DARKROOM_SECRET_KEY_PREVIOUS to the old one,
         everywhere, and restart everything.
      2. Run `darkroom rotate-key`.
      3. After DARKROOM_TOKEN_TTL_S take DARKROOM_SECRET_KEY_PREVIOUS away.
    """
    from darkroom.accounts import note, open_current

    with open_current(start()) as storage:
        count = storage.config.seal_again()
        note(storage, Action.SECRET_ROTATED, target=None)
    click.echo(f"Encrypted {count} stored keys with the secret of now.")
