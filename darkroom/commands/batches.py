"""`darkroom batches`."""

import click

from darkroom.commands.calling import Caller, calling
from darkroom.commands.exits import EXPLAINED
from darkroom.commands.tables import cost_in_words, table


@click.group(invoke_without_command=True, epilog=EXPLAINED)
@click.pass_context
def batches(context: click.Context) -> None:
    """Look at the batches on the server, or cancel them. `darkroom batch` makes them.

    \b
    Examples:
      darkroom batches
      darkroom batches cancel 8c1f…
    """
    if context.invoked_subcommand is None:
        context.invoke(list_batches)


@batches.command("list")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@calling
def list_batches(caller: Caller, limit: int) -> None:
    """List own batches, the newest first."""
    with caller.client() as client:
        found = client.batches.list(limit=limit)
    rows = [
        (
            each.id,
            each.status,
            each.counts.total,
            each.counts.succeeded,
            each.counts.failed,
            each.name,
        )
        for each in found
    ]
    caller.answer(found, *table(("ID", "STATUS", "ITEMS", "SUCCEEDED", "FAILED", "NAME"), rows))


@batches.command("show")
@click.argument("batch_id", metavar="ID")
@calling
def show_batch(caller: Caller, batch_id: str) -> None:
    """Show how far a batch is."""
    with caller.client() as client:
        batch = client.batches.get(batch_id)
    counts = batch.counts
    rows = [
        ("status", batch.status),
        ("queued", counts.queued),
        ("running", counts.running),
        ("succeeded", counts.succeeded),
        ("failed", counts.failed),
        ("canceled", counts.canceled),
        ("cost", cost_in_words(batch.cost, is_finished=batch.is_finished)),
    ]
    caller.answer(batch, *table(("id", batch.id), rows))


@batches.command("cancel")
@click.argument("batch_id", metavar="ID")
@calling
def cancel_batch(caller: Caller, batch_id: str) -> None:
    """Cancel all items of a batch that are not finished."""
    with caller.client() as client:
        batch = client.batches.cancel(batch_id)
    caller.answer(batch, f"{batch.id} is {batch.status}.")
