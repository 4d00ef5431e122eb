"""`darkroom batch`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from darkroom.commands.calling import Caller, calling, starting
from darkroom.commands.exits import EXPLAINED, FAILED, INTERRUPTED
from darkroom.commands.request_options import given, output_folder, request_options
from darkroom.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from darkroom.client import Batch, Client
    from darkroom.commands.batch_state import State
    from darkroom.commands.manifest import Manifest


@click.command(epilog=EXPLAINED)
@click.argument("source", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@output_folder("Folder for the pictures. [default: named after FILE]")
@click.option("--resume", is_flag=True, help="Go on with a batch that was interrupted.")
@click.option("--retry-failed", is_flag=True, help="Go on, then ask for what failed once more.")
@request_options
@starting
@calling
def batch(
    caller: Caller,
    source: Path,
    output: Path | None,
    resume: bool,
    retry_failed: bool,
    **fields: Any,
) -> None:
    """Draw everything in FILE, and save the pictures as they are done.

    \b
    FILE is one of
      .txt    one prompt on each line
      .csv    a header that names the fields (prompt, model, size, n, seed, …), then a row for each
      .jsonl  a JSON object on each line: {"prompt": "a fox", "size": "512x512", "custom_id": "fox"}

    `image` and `mask` may name pictures beside FILE, which are sent along.

    Options such as -m and -s are for items that say nothing themselves. All items are checked
    before any is drawn. manifest.jsonl in the folder says which pictures belong to which item.

    \b
    Examples:
      darkroom batch prompts.txt -m builtin/placeholder -s 512x512 -o pictures
      darkroom batch prompts.txt -m builtin/placeholder -s 512x512 -o pictures --resume
      darkroom batch catalogue.csv --retry-failed

    Ctrl-C stops following; the batch goes on at the server. The same command with --resume goes on
    here, and nothing is drawn twice. What that takes is kept beside the folder, in a file that ends
    with .batch.json.
    """
    from darkroom.commands.batch_input import fingerprint, items_in
    from darkroom.commands.batch_state import read_state, state_file

    folder = output or Path(source.stem)
    defaults = given(fields)
    wanted = fingerprint(items_in(source), defaults)
    state = read_state(state_file(folder))
    _check(state, wanted, state_file(folder), goes_on=resume or retry_failed)
    with caller.client() as client:
        _run(
            caller,
            client,
            _begun(client, wanted, folder) if state is None else state,
            folder,
            source=source,
            defaults=defaults,
            retry_failed=retry_failed,
        )


def _check(state: "State | None", wanted: str, file: Path, *, goes_on: bool) -> None:
    """Raises InvalidRequest when what is asked for does not fit to what was begun."""
    if state is None:
        if goes_on:
            raise InvalidRequest(
                f"There is nothing to go on with: {file} is not there. Start the batch without"
                " --resume, or name its folder with -o."
            )
        return
    if not goes_on:
        raise InvalidRequest(
            f"This batch was begun before, says {file}: go on with --resume, ask for what failed"
            " with --retry-failed, choose another folder with -o, or delete the file to draw"
            " everything again."
        )
    if state.fingerprint != wanted:
        raise InvalidRequest(
            "The input or the options changed since the batch was begun: give the same ones to go"
            " on with it, or choose another folder with -o for a new batch."
        )


def _begun(client: "Client", fingerprint: str, folder: Path) -> "State":
    from darkroom.commands.batch_state import State, state_file, write_state
    from darkroom.commands.saving import make_folder

    make_folder(folder)
    state = State.begun(server=client.url, fingerprint=fingerprint)
    write_state(state_file(folder), state)
    return state


def _run(
    caller: Caller,
    client: "Client",
    state: "State",
    folder: Path,
    *,
    source: Path,
    defaults: dict[str, Any],
    retry_failed: bool,
) -> None:
    from darkroom.commands.batch_run import accept, keep_results
    from darkroom.commands.batch_state import state_file, write_state
    from darkroom.commands.manifest import Manifest
    from darkroom.commands.saving import make_folder

    make_folder(folder)
    file = state_file(folder)
    manifest = Manifest(folder)
    try:
        while True:
            state = accept(client, state, file, source=source, defaults=defaults)
            batch_id = str(state.current.batch_id)
            caller.say(f"Batch {batch_id} at {client.url}, pictures go to {folder}")
            keep_results(client, batch_id, folder, manifest)
            if not retry_failed or not manifest.unsuccessful():
                break
            retry_failed = False
            state = state.retried()
            write_state(file, state)
    except KeyboardInterrupt:
        _interrupted(caller, state)
        sys.exit(INTERRUPTED)
    except NotFound as error:
        raise NotFound(
            f"{client.url} does not know this batch, which was begun at {state.server}: name the"
            " server with --server."
        ) from error
    _summarize(caller, client.batches.get(batch_id), folder, manifest)


def _interrupted(caller: Caller, state: "State") -> None:
    where = "here when Darkroom runs again" if caller.runs_here else "at the server"
    batch_id = state.current.batch_id
    if batch_id is None:
        caller.say(
            f"Interrupted. The batch may have been accepted, and goes on {where} then. The same"
            " command with --resume goes on; nothing is drawn twice."
        )
        return
    caller.say(
        f"Interrupted. The batch goes on {where}. The same command with --resume goes on here;"
        f" `darkroom batches cancel {batch_id}` cancels it."
    )


def _summarize(caller: Caller, batch: "Batch", folder: Path, manifest: "Manifest") -> None:
    from darkroom.commands.tables import cost_in_words, table

    failed = manifest.unsuccessful()
    seconds = (batch.finished_at or 0) - (batch.created_at or 0)
    rows: list[tuple[str, object]] = [("succeeded", manifest.succeeded)]
    rows += [(f"failed: {code}", count) for code, count in failed.most_common()]
    rows += [("pictures", manifest.pictures), ("time", f"{max(0.0, seconds):.1f} s")]
    rows.append(("cost", cost_in_words(batch.cost, is_finished=batch.is_finished)))
    caller.answer(
        {
            "batch": batch,
            "succeeded": manifest.succeeded,
            "failed": dict(failed),
            "pictures": manifest.pictures,
            "seconds": seconds,
            "folder": str(folder),
            "manifest": str(manifest.path),
        },
        *table(("items", manifest.count), rows),
    )
    if failed:
        caller.say("`--retry-failed` asks for what failed once more.")
        sys.exit(FAILED)
