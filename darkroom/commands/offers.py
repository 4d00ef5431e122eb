"""`darkroom models` and `darkroom engines`: what can be asked for."""

import click

from darkroom.commands.calling import Caller, calling
from darkroom.commands.exits import EXPLAINED
from darkroom.commands.tables import table


@click.command(epilog=EXPLAINED)
@click.option("--engine", help="Only the models of this engine.")
@calling
def models(caller: Caller, engine: str | None) -> None:
    """List the models that can be asked for with -m, of each engine the best first.

    \b
    Examples:
      darkroom models
      darkroom models --engine openai --json
    """
    with caller.client() as client:
        found = client.models(engine or "all")
    rows = [
        (
            each.id,
            each.engine,
            "draws, edits"
            if each.can_edit and each.can_generate
            else "edits"
            if each.can_edit
            else "draws",
            f"until {each.retired_on}" if each.retired_on else "",
        )
        for each in found
    ]
    caller.answer(found, *table(("MODEL", "ENGINE", "CAN", ""), rows))


@click.command(epilog=EXPLAINED)
@calling
def engines(caller: Caller) -> None:
    """List the engines, and say how they are doing."""
    with caller.client() as client:
        found = client.engines()
    rows = [
        (each.name, each.state, each.models, each.queued, each.running, each.detail or each.reason)
        for each in found
    ]
    caller.answer(found, *table(("ENGINE", "STATE", "MODELS", "QUEUED", "RUNNING", ""), rows))
