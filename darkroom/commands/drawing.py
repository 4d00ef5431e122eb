"""One job from the command line: followed with a live bar, saved, shown."""

import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.commands.calling import Caller
from darkroom.commands.exits import INTERRUPTED
from darkroom.errors import DarkroomError

if TYPE_CHECKING:
    from darkroom.client import Client, Job


def draw(
    caller: Caller,
    submit: Callable[["Client", str], "Job"],
    folder: Path,
    *,
    preview: bool,
) -> None:
    """Have a job drawn, and save its pictures. Ctrl-C cancels it: nobody waits for it then.

    `submit` asks for it, with an idempotency key.
    """
    from darkroom.commands.previewing import show
    from darkroom.commands.saving import make_folder, save_pictures

    make_folder(folder)
    key = str(uuid.uuid4())
    with caller.client() as client:
        job = None
        try:
            job = submit(client, key)
            job = _followed(client, job).checked()
        except KeyboardInterrupt:
            # The server may have accepted what it could not answer: asked again, it names that job.
            _cancel(caller, client, job or submit(client, key))
            sys.exit(INTERRUPTED)
        paths = save_pictures(client, job, folder)
    for warning in job.warnings:
        caller.say(f"Warning: {warning}")
    caller.answer({"job": job, "files": [str(each) for each in paths]}, *map(str, paths))
    if preview and not caller.wants_json:
        show(paths)


def _followed(client: "Client", job: "Job") -> "Job":
    with live_bar() as update:
        for job in client.follow(job):  # noqa: B020 - each is the newer one
            update(job.progress, in_words(job))
    return job


def _cancel(caller: Caller, client: "Client", job: "Job") -> None:
    try:
        client.cancel(job)
        caller.say(f"Canceled job {job.id}.")
    except DarkroomError as error:
        caller.say(f"Job {job.id} may go on, it could not be canceled: {error.detail}")


def in_words(job: "Job") -> str:
    if job.queue_position is not None:
        return f"{job.status}, number {job.queue_position} in line for {job.engine}"
    return f"{job.status}, {job.engine}/{job.model}"


@contextmanager
def live_bar() -> Iterator[Callable[[float, str], None]]:
    """A bar on stderr, where that is a terminal; yields what moves it (share, words)."""
    if not sys.stderr.isatty():
        yield lambda share, words: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda share, words: progress.update(task, completed=share, description=words)
