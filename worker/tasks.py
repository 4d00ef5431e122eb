"""The Celery side of a job: the task's name, its queue, and nothing else."""

from collections.abc import Callable

from celery import Celery
from celery.exceptions import Reject
from kombu.exceptions import OperationalError

from darkroom import bus
from darkroom.errors import Unavailable
from storage.backlog import Next


def register(app: Celery, run: Callable[[str], None]) -> None:
    """Add the task that runs a job by its id. An id whose job could not be claimed goes back."""

    def run_job(job_id: str) -> None:
        try:
            run(job_id)
        except Unavailable as error:
            raise Reject(error.detail, requeue=True) from error

    # Shared, it would also be every other application's in the process, which Celery's default is.
    app.task(name=bus.RUN_JOB, shared=False)(run_job)


def send(app: Celery, job: Next) -> None:
    """Hand a job's id to its engine's queue. Raises Unavailable when the broker is away."""
    try:
        app.send_task(
            bus.RUN_JOB,
            args=[job.id],
            queue=bus.queue_for(job.engine),
            priority=bus.PRIORITIES[job.lane],
        )
    except OperationalError as error:
        raise Unavailable("The broker does not answer at the moment.") from error
