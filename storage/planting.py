"""Planting: items of a batch become jobs like any other, in the order of the batch."""

from collections.abc import Sequence
from operator import itemgetter

from sqlalchemy import Connection, insert

from darkroom.domain import Batch, BatchItem, BatchPlace, Lane, NewJob
from storage.inputs import keys_of
from storage.jobs import new_job_id
from storage.records import new_row
from storage.tables import job_inputs, jobs


def insert_jobs(connection: Connection, batch: Batch, items: Sequence[BatchItem]) -> None:
    """Make the next items of a batch jobs, and let each hold the pictures it works on."""
    rows, inputs = [], []
    for position, item in enumerate(items, start=batch.planted):
        job_id = new_job_id()
        # A hair later for each, so that the backlog keeps the order of the batch.
        created_at = batch.created_at + position * 1e-6
        place = BatchPlace(
            batch_id=batch.id, position=position, line=item.line, custom_id=item.custom_id
        )
        rows.append({**new_row(_job_of(item, batch, place), job_id), "created_at": created_at})
        inputs += [
            {"job_id": job_id, "file_key": key, "created_at": created_at}
            for key in sorted(keys_of(item.request))
        ]
    connection.execute(insert(jobs), rows)
    if inputs:
        # Each locks its file: in the order in which all others lock several.
        connection.execute(insert(job_inputs), sorted(inputs, key=itemgetter("file_key")))


def _job_of(item: BatchItem, batch: Batch, place: BatchPlace) -> NewJob:
    return NewJob(
        owner_id=batch.owner_id,
        engine=item.engine,
        model=item.model,
        request=item.request,
        warnings=item.warnings,
        metadata=item.metadata,
        request_id=batch.request_id,
        lane=Lane.BATCH,
        deadline=item.deadline,
        retry_of=item.retry_of,
        place=place,
        estimated_cost=item.estimated_cost,
    )
