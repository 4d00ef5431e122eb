"""A batch from the command line: accepted once, followed, its pictures kept as they come."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.commands.batch_input import items_in
from darkroom.commands.batch_state import State, write_state
from darkroom.commands.manifest import Manifest
from darkroom.commands.saving import save_picture
from darkroom.errors import CallerError, InvalidBatch, NotFound

if TYPE_CHECKING:
    from darkroom.client import Batch, BatchResult, Client

#: Pictures that are downloaded at the same time.
DOWNLOADS = 4

#: Most faults of an input that are told.
TOLD_FAULTS = 20


def accept(
    client: "Client", state: State, file: Path, *, source: Path, defaults: Mapping[str, Any]
) -> State:
    """Have the newest call of the state accepted, unless it is known to be.

    Raises InvalidRequest that names the lines at fault; nothing runs then.
    """
    if state.current.batch_id is not None:
        return state
    call = state.current
    try:
        if call.retry_of is not None:
            batch = client.batches.retry(call.retry_of, idempotency_key=call.idempotency_key)
        else:
            batch = _created(client, source, defaults, call.idempotency_key)
    except CallerError:
        # The next try is a new one, perhaps with a mended input.
        write_state(file, state.refused())
        raise
    state = state.accepted(batch.id)
    write_state(file, state)
    return state


def _created(
    client: "Client", source: Path, defaults: Mapping[str, Any], idempotency_key: str
) -> "Batch":
    lines: list[int] = []

    def items() -> Iterator[Mapping[str, Any]]:
        for line, item in items_in(source):
            lines.append(line)
            yield item

    try:
        return client.batches.create(
            items(), name=source.name, defaults=defaults or None, idempotency_key=idempotency_key
        )
    except InvalidBatch as error:
        raise _in_file(error, source, lines) from error


def _in_file(error: InvalidBatch, source: Path, lines: Sequence[int]) -> InvalidBatch:
    """The same error with the lines of the file instead of those that were sent."""
    faults = tuple(replace(each, line=lines[each.line - 1]) for each in error.lines)
    told = [f"  line {each.line}: {each.param}: {each.detail}" for each in faults[:TOLD_FAULTS]]
    if error.count > len(told):
        told.append(f"  … and {error.count - len(told)} more")
    moved = InvalidBatch(
        "\n".join([f"{source} was refused, nothing was drawn:", *told]),
        lines=faults,
        count=error.count,
    )
    moved.problem = {**error.problem, "errors": [asdict(each) for each in faults]}
    return moved


def keep_results(client: "Client", batch_id: str, folder: Path, manifest: Manifest) -> None:
    """Follow the batch to its end, and save the pictures of every item that is not here yet."""
    total = client.batches.get(batch_id).counts.total
    pending: deque[Future[None]] = deque()
    pool = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="download")
    try:
        with _progress(total) as update:
            for done, result in enumerate(client.batches.follow(batch_id), start=1):
                if not manifest.holds(result):
                    pending.append(pool.submit(_keep, client, result, folder, manifest))
                while pending and pending[0].done():
                    pending.popleft().result()
                update(done, manifest.unsuccessful().total())
            while pending:
                pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _keep(client: "Client", result: "BatchResult", folder: Path, manifest: Manifest) -> None:
    files = []
    for image in result.images:
        try:
            files.append(save_picture(client, image, result.prompt, folder).name)
        except NotFound:
            # Somebody deleted it at the server. The manifest tells of it, without a file.
            continue
    manifest.add(result, files)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, where that is a terminal; yields what moves it (items done, failed)."""
    if not sys.stderr.isatty():
        yield lambda done, failed: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)

        def update(done: int, failed: int) -> None:
            progress.update(task, completed=done, description=f"{failed} failed" if failed else "")

        yield update
