"""OpenAI's batch objects: made of an input file, and shown from our own batch of the same id."""

import hashlib
from dataclasses import asdict, replace
from typing import Any

import orjson

from api.auth import accessible_owner, current_user
from api.batches.lines import Lines
from api.batches.submission import replayed, submit_batch
from api.batches.views import finished_at
from api.openai.batch_files import settled
from api.openai.batch_lines import WINDOW_S, EnvelopeReader
from api.openai.batch_schemas import TIMES
from api.openai.documents import a_list
from api.openai.ids import BATCH, FILE, plain_id
from api.openai.repeats import is_repeat, was_answered
from api.services import Services
from darkroom.domain import (
    Batch,
    BatchCounts,
    BatchStatus,
    Document,
    LineError,
    OpenAIBatch,
)
from darkroom.errors import InvalidBatch, InvalidRequest, LineProblem, NotFound
from storage.batches import new_batch_id

#: How long ago a call may have come that the SDK sends again, in seconds.
REPEATED_WITHIN_S = 3600

LONGEST_BATCH_NAME = 200

STATUSES = {
    BatchStatus.QUEUED: "in_progress",
    BatchStatus.RUNNING: "in_progress",
    BatchStatus.CANCELING: "cancelling",
    BatchStatus.FINISHED: "completed",
    BatchStatus.CANCELED: "cancelled",
}

#: Our codes for what is wrong with a line, where OpenAI has another word.
LINE_CODES = {
    "request_invalid": "invalid_value",
    "parameter_unsupported": "unsupported_value",
    "too_many_items": "too_many_tasks",
}


def create(asked: dict[str, Any], services: Services) -> OpenAIBatch:
    """Run the lines of an input file.

    What is wrong with the lines does not fail the call: the batch has failed then, and says of each
    line why. Raises InvalidRequest for a file that cannot be one, LimitReached or Unavailable.
    """
    document = _input_file(asked["input_file_id"], services)
    expiry = asked.get("output_expires_after")
    new = OpenAIBatch(
        id=new_batch_id(),
        owner_id=current_user().id,
        input_file_id=document.id,
        endpoint=asked["endpoint"],
        completion_window=asked["completion_window"],
        metadata=asked.get("metadata"),
        output_expires_s=expiry["seconds"] if expiry else None,
    )
    try:
        batch = _submitted(new, document, services)
    except InvalidBatch as error:
        return services.storage.openai_batches.add(replace(new, errors=_line_errors(error)))
    return services.storage.openai_batches.add(replace(new, id=batch.id))


def batch_object(asked: OpenAIBatch, services: Services) -> dict[str, Any]:
    """A batch as `BatchObjectSchema` shows it. Raises Unavailable."""
    if asked.errors:
        counts, times, status = BatchCounts(), {"failed_at": asked.created_at}, "failed"
    else:
        batch = services.storage.batches.get(asked.id)
        counts = services.storage.batches.counts(batch)
        status = STATUSES[counts.status(was_canceled=batch.cancel_requested_at is not None)]
        times = {"in_progress_at": batch.created_at, "expires_at": batch.created_at + WINDOW_S}
        if batch.cancel_requested_at is not None:
            times["cancelling_at"] = batch.cancel_requested_at
        if counts.finished == counts.total:
            asked = settled(asked, batch, services)
            ended = finished_at(batch, services) or batch.created_at
            if status == "completed" and asked.is_expired:
                status = "expired"
            times[f"{status}_at"] = ended
    return {
        "id": BATCH + asked.id,
        "object": "batch",
        "endpoint": asked.endpoint,
        "errors": {"object": "list", "data": [asdict(each) for each in asked.errors]}
        if asked.errors
        else None,
        "input_file_id": FILE + asked.input_file_id,
        "completion_window": asked.completion_window,
        "status": status,
        "output_file_id": _file_id(asked.output_file_id),
        "error_file_id": _file_id(asked.error_file_id),
        "created_at": int(asked.created_at),
        "request_counts": {
            "total": counts.total,
            "completed": counts.succeeded,
            "failed": counts.failed,
        },
        "metadata": asked.metadata,
        **{name: int(times[name]) if name in times else None for name in TIMES},
    }


def batch_list(owner_id: str, query: dict[str, Any], services: Services) -> dict[str, Any]:
    """An owner's batches as `BatchListSchema` shows them, newest first. Raises NotFound."""
    after = query.get("after")
    found = services.storage.openai_batches.list(
        owner_id=owner_id,
        after=plain_id(BATCH, after) if after else None,
        limit=query["limit"] + 1,
    )
    limit = query["limit"]
    shown = [batch_object(each, services) for each in found[:limit]]
    return a_list(shown, has_more=len(found) > limit)


def _submitted(new: OpenAIBatch, document: Document, services: Services) -> Batch:
    said = [document.file_key, new.endpoint, new.metadata, new.output_expires_s]
    digest = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
    earlier = replayed(new.owner_id, digest, services) or _repeated(new.owner_id, digest, services)
    if earlier is not None:
        return earlier
    with (
        services.storage.documents.open(document) as file,
        Lines(longest_bytes=services.settings.max_body_bytes) as lines,
    ):
        lines.take_in(file)
        return submit_batch(
            lines.numbered(),
            services,
            read=EnvelopeReader(new.endpoint),
            request_hash=digest,
            name=document.filename[:LONGEST_BATCH_NAME],
            metadata=dict(new.metadata or {}),
        )


def _repeated(owner_id: str, digest: str, services: Services) -> Batch | None:
    """The batch of the call that the SDK sends again, if that was accepted and not answered."""
    if not is_repeat():
        return None
    alike = services.storage.batches.alike(owner_id, digest, within_s=REPEATED_WITHIN_S)
    return next((each for each in alike if not was_answered(each.id, services)), None)


def _input_file(file_id: str, services: Services) -> Document:
    try:
        document = services.storage.documents.get(
            plain_id(FILE, file_id), owner_id=accessible_owner()
        )
    except NotFound as error:
        raise InvalidRequest(
            f"There is no file {file_id!r}: upload one with the purpose batch.",
            param="input_file_id",
        ) from error
    if document.purpose != "batch":
        raise InvalidRequest(
            f"The file was uploaded for {document.purpose}: upload it with the purpose batch.",
            param="input_file_id",
        )
    return document


def _line_errors(error: InvalidBatch) -> tuple[LineError, ...]:
    if not error.lines:
        return (LineError(code="empty_file", message="The input file has no lines."),)
    return tuple(_line_error(each) for each in error.lines)


def _line_error(problem: LineProblem) -> LineError:
    return LineError(
        code=LINE_CODES.get(problem.code, problem.code),
        message=problem.detail,
        line=problem.line,
        param=problem.param,
    )


def _file_id(document_id: str | None) -> str | None:
    return None if document_id is None else FILE + document_id
