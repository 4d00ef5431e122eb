"""What a batch writes, as OpenAI words it: a line for each picture call, and one for each failure.

Nothing of it is kept: the lines are written from jobs and pictures whenever they are read.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from api.batches.results import Finished, finished_jobs, never_begun
from api.openai.answers import Show, images_answer, shown_encoded, shown_linked, wants_url
from api.openai.batch_lines import RESPONSE_FORMAT
from api.openai.envelope import body_of_job, kind_of, wording_of
from api.services import Services
from darkroom.domain import Batch, Document, Job, JobStatus, OpenAIBatch, StoredImage
from darkroom.errors import DeadlineExceeded, NotFound
from storage.documents import new_document_id

PURPOSE = "batch_output"

EXPIRED = {"code": "batch_expired", "message": "The batch's time was over before this was drawn."}
CANCELLED = {
    "code": "batch_cancelled",
    "message": "The batch was cancelled before this was drawn.",
}


def settled(asked: OpenAIBatch, batch: Batch, services: Services) -> OpenAIBatch:
    """Name what a finished batch wrote, if nobody has yet. Raises Unavailable."""
    if asked.is_settled:
        return asked
    output_bytes = sum(_sizes(batch, services))
    error_bytes = sum(len(each) for each in _error_lines(batch, services))
    return services.storage.openai_batches.settle(
        asked,
        output=_document(asked, f"batch_{batch.id}_output.jsonl", output_bytes),
        errors=_document(asked, f"batch_{batch.id}_error.jsonl", error_bytes),
        is_expired=bool(error_bytes)
        and any(_is_expired(job) for job, _ in finished_jobs(batch, services)),
    )


def written_lines(document: Document, services: Services) -> Iterator[bytes]:
    """The lines of a file that a batch wrote. Raises NotFound."""
    asked = services.storage.openai_batches.get(document.batch_id or document.id)
    batch = services.storage.batches.get(asked.id)
    if document.id == asked.output_file_id:
        return _output_lines(batch, services)
    return _error_lines(batch, services)


def _output_lines(batch: Batch, services: Services) -> Iterator[bytes]:
    linked, encoded = shown_linked(services), _shown_if_there(services)
    for job, images in _succeeded(batch, services):
        show = linked if _is_linked(job) else encoded
        yield _line(job, 200, images_answer(job, images, show))


def _sizes(batch: Batch, services: Services) -> Iterator[int]:
    """How long the lines of the output will be, told without reading a picture."""
    linked = shown_linked(services)
    for job, images in _succeeded(batch, services):
        show = linked if _is_linked(job) else _not_shown
        yield len(_line(job, 200, images_answer(job, images, show)))
        if not _is_linked(job):
            yield sum(4 * math.ceil(each.size_bytes / 3) for each in images)


def _succeeded(batch: Batch, services: Services) -> Iterator[Finished]:
    return (
        each for each in finished_jobs(batch, services) if each[0].status is JobStatus.SUCCEEDED
    )


def _error_lines(batch: Batch, services: Services) -> Iterator[bytes]:
    for job, _ in finished_jobs(batch, services):
        if job.status is JobStatus.CANCELED:
            yield _never_ran(job.id, _name_of(job), CANCELLED)
        elif _is_expired(job):
            yield _never_ran(job.id, _name_of(job), EXPIRED)
        elif job.status is JobStatus.FAILED:
            yield _line(job, wording_of(kind_of(job.error)).status, body_of_job(job))
    for item in never_begun(batch, services):
        yield _never_ran(f"{batch.id}-{item.line}", item.custom_id, CANCELLED)


def _line(job: Job, status: int, body: dict[str, Any]) -> bytes:
    answer = {"status_code": status, "request_id": f"req_{job.id}", "body": body}
    return _as_line(job.id, _name_of(job), answer, None)


def _never_ran(number: str, custom_id: str, error: dict[str, str]) -> bytes:
    return _as_line(number, custom_id, None, error)


def _as_line(
    number: str, custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None
) -> bytes:
    line = {
        "id": f"batch_req_{number}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return orjson.dumps(line) + b"\n"


def _is_expired(job: Job) -> bool:
    return job.error is not None and job.error.code == DeadlineExceeded.code


def _name_of(job: Job) -> str:
    return job.place.custom_id if job.place else job.id


def _is_linked(job: Job) -> bool:
    return wants_url(job.metadata.get(RESPONSE_FORMAT), job.model)


def _shown_if_there(services: Services) -> Show:
    """Pictures in base64; one that was deleted since is shown as no picture."""
    encoded = shown_encoded(services)

    def show(image: StoredImage) -> dict[str, str]:
        try:
            return encoded(image)
        except NotFound:
            return {}

    return show


def _not_shown(image: StoredImage) -> dict[str, str]:
    return {"b64_json": ""}


def _document(asked: OpenAIBatch, filename: str, size_bytes: int) -> Document | None:
    """The row of a file with so many bytes; none for an empty one."""
    if not size_bytes:
        return None
    now = time.time()
    document = Document(
        id=new_document_id(),
        owner_id=asked.owner_id,
        filename=filename,
        purpose=PURPOSE,
        size_bytes=size_bytes,
        file_key=None,
        batch_id=asked.id,
        created_at=now,
        expires_at=None,
    )
    if asked.output_expires_s is None:
        return document
    return replace(document, expires_at=now + asked.output_expires_s)
