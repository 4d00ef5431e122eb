"""`darkroom jobs`."""

from typing import TYPE_CHECKING

import click

from darkroom.commands.calling import Caller, calling
from darkroom.commands.exits import EXPLAINED
from darkroom.commands.tables import shortened, table

if TYPE_CHECKING:
    from darkroom.client import Job


@click.group(invoke_without_command=True, epilog=EXPLAINED)
@click.pass_context
def jobs(context: click.Context) -> None:
    """Look at jobs, cancel them, or ask for failed ones again.

    \b
    Examples:
      darkroom jobs
      darkroom jobs list --status failed
      darkroom jobs show 41d2…
      darkroom jobs cancel 41d2…
    """
    if context.invoked_subcommand is None:
        context.invoke(list_jobs)


@jobs.command("list")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@click.option("--status", help="Only jobs that are queued, running, succeeded, failed, …")
@click.option("--batch", metavar="ID", help="Only jobs of this batch.")
@calling
def list_jobs(caller: Caller, limit: int, status: str | None, batch: str | None) -> None:
    """List own jobs, the newest first."""
    with caller.client() as client:
        found = client.jobs(limit=limit, status=status, batch=batch)
    rows = [
        (
            each.id,
            each.status,
            f"{each.engine}/{each.model}",
            len(each.images),
            shortened(each.prompt),
        )
        for each in found
    ]
    caller.answer(found, *table(("ID", "STATUS", "MODEL", "PICTURES", "PROMPT"), rows))


@jobs.command("show")
@click.argument("job_id", metavar="ID")
@calling
def show_job(caller: Caller, job_id: str) -> None:
    """Show one job with its pictures, or why it failed."""
    with caller.client() as client:
        job = client.job(job_id)
    caller.answer(job, *_about(job))


@jobs.command("cancel")
@click.argument("job_id", metavar="ID")
@calling
def cancel_job(caller: Caller, job_id: str) -> None:
    """Cancel a job that is queued or running."""
    with caller.client() as client:
        job = client.cancel(job_id)
    caller.answer(job, f"{job.id} is {job.status}.")


@jobs.command("retry")
@click.argument("job_id", metavar="ID")
@calling
def retry_job(caller: Caller, job_id: str) -> None:
    """Ask once more for what a failed or canceled job was to draw. Prints the new job's id."""
    with caller.client() as client:
        job = client.retry(job_id)
    caller.answer(job, job.id)


def _about(job: "Job") -> list[str]:
    rows: list[tuple[str, object]] = [
        ("status", job.status),
        ("model", f"{job.engine}/{job.model}"),
        ("prompt", shortened(job.prompt, 200)),
        ("progress", f"{job.progress:.0%}"),
    ]
    if job.queue_position is not None:
        rows.append(("place in line", job.queue_position))
    if job.error is not None:
        rows.append(("error", f"{job.error['code']}: {job.error['detail']}"))
    rows += [("warning", each) for each in job.warnings]
    rows += [("picture", f"{each.id}  {each.width}x{each.height}") for each in job.images]
    return table(("id", job.id), rows)
