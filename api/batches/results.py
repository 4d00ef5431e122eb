"""What came of a batch, line by line: as far as it is, or until its end."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any

import orjson
import structlog
from flask import Response, request

from api.answers import file_view, job_url
from api.auth import ended
from api.batches.schemas import ResultSchema
from api.services import Services
from api.waiting import Following, caller_is_gone
from darkroom.domain import Batch, BatchItem, Job, JobStatus, StoredImage
from darkroom.errors import Unavailable
from storage.batch_results import Results

log = structlog.get_logger(__name__)

NDJSON = "application/x-ndjson"

#: After so long without a result an empty line is sent, in seconds: proxies end connections that
#: are silent.
HEARTBEAT_S = 12.0
NOTHING = b"\n"

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Finished = tuple[Job, Sequence[StoredImage]]


def results_of(batch: Batch, services: Services, *, follow: bool) -> Response:
    """Answer with the results of a batch in the order its jobs ended.

    With `follow` the answer goes on until the batch is over or this process stops. Raises
    Unavailable when as many calls wait as this process can hold.
    """
    response = Response(content_type=NDJSON, headers=HEADERS)
    if request.method == "HEAD":
        return response
    with ExitStack() as held:
        following = None
        if follow:
            if not held.enter_context(services.waiter.place()):
                raise Unavailable("As many calls wait here as can: try again in a few seconds.")
            # Nobody announces batches: this only ends with the process.
            following = held.enter_context(services.waiter.follow(batch.id))
        is_gone, has_ended = partial(caller_is_gone, request.environ), ended(services)
        response.response = _lines(batch, services, following, lambda: is_gone() or has_ended())
        response.call_on_close(held.pop_all().close)
    return response


def finished_jobs(batch: Batch, services: Services) -> Iterator[Finished]:
    """The finished jobs of a batch as far as they are, with their images."""
    results = services.storage.batches.results(batch)
    while jobs := results.more():
        yield from _with_images(jobs, services)
        results.done()


def result_of_job(job: Job, images: Sequence[StoredImage]) -> dict[str, Any]:
    """A finished job as `ResultSchema` shows it."""
    place = job.place
    return {
        "custom_id": place.custom_id if place else None,
        "line": place.line if place else None,
        "status": job.status,
        "job": job_url(job),
        "engine": job.engine,
        "model": job.model,
        "prompt": job.request.prompt,
        "images": [file_view(each) for each in images],
        "error": job.error,
        "warnings": job.warnings,
        "metadata": job.metadata,
    }


def result_of_item(item: BatchItem) -> dict[str, Any]:
    """An item of a canceled batch that never became a job, likewise."""
    return {
        "custom_id": item.custom_id,
        "line": item.line,
        "status": JobStatus.CANCELED,
        "job": None,
        "engine": item.engine,
        "model": item.model,
        "prompt": item.request.prompt,
        "images": [],
        "error": None,
        "warnings": item.warnings,
        "metadata": item.metadata,
    }


def is_over(batch: Batch, services: Services) -> bool:
    """Whether nothing more will come of a batch."""
    now = services.storage.batches.get(batch.id)
    counts = services.storage.batches.counts(now)
    return counts.status(was_canceled=now.cancel_requested_at is not None).is_finished


def never_begun(batch: Batch, services: Services) -> Iterator[BatchItem]:
    """The items of a canceled batch that never became jobs; none of any other."""
    now = services.storage.batches.get(batch.id)
    if now.cancel_requested_at is not None:
        yield from services.storage.batches.never_planted(now)


def _lines(
    batch: Batch, services: Services, following: Following | None, is_gone: Callable[[], bool]
) -> Iterator[bytes]:
    if following is None:
        yield from _news(services.storage.batches.results(batch), services)
        yield from _rest(batch, services)
        return
    followed = _Followed(batch, services)
    said_at = time.monotonic()
    while not followed.is_over:
        try:
            for text in followed.news():
                yield text
                said_at = time.monotonic()
        except Unavailable as error:
            # The caller keeps its place until the database is back.
            log.warning("followed batch not read", reason=error.detail)
        if followed.is_over or following.is_over or is_gone():
            return
        if time.monotonic() - said_at >= HEARTBEAT_S:
            yield NOTHING
            said_at = time.monotonic()
        following.wait()


class _Followed:
    """A batch that is followed to its end, over any number of looks."""

    def __init__(self, batch: Batch, services: Services) -> None:
        self.is_over = False
        self._batch = batch
        self._services = services
        self._results = services.storage.batches.results(batch)
        self._told_of_rest = 0

    def news(self) -> Iterator[bytes]:
        """What is not told yet. Raises Unavailable; then nothing is lost."""
        # Asked first: what ends between the two is among the results.
        over = is_over(self._batch, self._services)
        yield from _news(self._results, self._services)
        if not over:
            return
        self._results.from_the_start()
        yield from _news(self._results, self._services)
        for line in islice(_rest(self._batch, self._services), self._told_of_rest, None):
            yield line
            self._told_of_rest += 1
        self.is_over = True


def _news(results: Results, services: Services) -> Iterator[bytes]:
    schema = ResultSchema()
    while jobs := results.more():
        yield b"".join(
            orjson.dumps(schema.dump(result_of_job(*each))) + b"\n"
            for each in _with_images(jobs, services)
        )
        results.done()


def _rest(batch: Batch, services: Services) -> Iterator[bytes]:
    schema = ResultSchema()
    for item in never_begun(batch, services):
        yield orjson.dumps(schema.dump(result_of_item(item))) + b"\n"


def _with_images(jobs: Sequence[Job], services: Services) -> Iterator[Finished]:
    images = services.storage.images.of_jobs([each.id for each in jobs])
    return ((job, images[job.id]) for job in jobs)
