"""The Celery side of a job: the task's name, and what becomes of its id."""

from collections.abc import Callable

from celery import Celery
from celery.exceptions import Reject

from darkroom import bus
from darkroom.errors import Unavailable


def register(app: Celery, run: Callable[[str], None]) -> None:
    """Add the task that runs a job by its id. An id whose job could not be claimed goes back."""

    def run_job(job_id: str) -> None:
        try:
            run(job_id)
        except Unavailable as error:
            raise Reject(error.detail, requeue=True) from error

    # Shared, it would also be every other application's in the process, which Celery's default is.
    app.task(name=bus.RUN_JOB, shared=False)(run_job)
