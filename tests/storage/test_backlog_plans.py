"""However long the backlog is, deciding who is next looks at few rows (SQLite tells how)."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, insert

from darkroom.domain import ImageRequest, JobError, JobStatus, Lane
from darkroom.settings import Settings
from storage import Storage, open_storage
from storage.records import request_to_json
from storage.tables import jobs
from tests.backends.choice import only_embedded, prepare

pytestmark = only_embedded

MANY = 20_000


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """One user has very many jobs waiting, and as many finished."""
    storage = open_storage(Settings(data_dir=tmp_path_factory.mktemp("many")))
    prepare(storage.database)
    owner = storage.users.create(email="anna@example.org", name="Anna")
    rows = [
        _row(owner.id, number, status)
        for number in range(MANY)
        for status in (JobStatus.QUEUED, JobStatus.SUCCEEDED)
    ]
    with storage.database.writing() as connection:
        connection.execute(insert(jobs), rows)
    yield storage
    storage.close()


def _row(owner_id: str, number: int, status: JobStatus) -> dict[str, object]:
    return {
        "id": str(uuid.UUID(int=number * 2 + (status is JobStatus.QUEUED))),
        "owner_id": owner_id,
        "status": status,
        "engine": "builtin",
        "model": "placeholder",
        "request": request_to_json(ImageRequest(prompt="a boat")),
        "warnings": [],
        "metadata": {},
        "attempt": 0,
        "progress": 0.0,
        "lane": Lane.BATCH,
        "created_at": float(number),
    }


@contextmanager
def explained(storage: Storage) -> Iterator[list[str]]:
    """How the database finds the jobs that are asked for while the block runs."""
    asked: list[tuple[str, Any]] = []
    steps: list[str] = []

    def note(*arguments: Any) -> None:
        asked.append((arguments[2], arguments[3]))

    event.listen(storage.database.engine, "before_cursor_execute", note)
    yield steps
    event.remove(storage.database.engine, "before_cursor_execute", note)
    with storage.database.reading() as connection:
        for statement, parameters in asked:
            if "FROM jobs" in statement or "UPDATE jobs" in statement:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                steps += [row.detail for row in plan if "jobs" in row.detail]


@pytest.mark.parametrize("running_limit", [None, 5])
def test_who_is_next_is_read_from_indexes_alone(
    storage: Storage, running_limit: int | None
) -> None:
    with explained(storage) as steps:
        taken = storage.backlog.take("builtin", window=8, running_limit=running_limit)
    storage.backlog.put_back([each.id for each in taken])

    assert [each.id for each in taken] == [
        str(uuid.UUID(int=number * 2 + 1)) for number in range(running_limit or 8)
    ]
    assert [each for each in steps if "ix_jobs_waiting" in each]
    assert [each for each in steps if not _is_quick(each)] == []


def test_engines_without_a_driver_are_found_in_indexes_alone(storage: Storage) -> None:
    with explained(storage) as steps:
        storage.backlog.unattended(["builtin"], for_s=60)

    assert [each.rpartition(" ")[2] for each in steps] == ["ix_jobs_waiting", "ix_jobs_sent"]


def test_what_waits_for_an_engine_that_is_sick_or_missing_is_found_in_indexes_alone(
    storage: Storage,
) -> None:
    with explained(storage) as steps:
        waiting = storage.jobs.waiting_for("builtin", ["placeholder"], limit=3)
        storage.jobs.give_up_waiting("gone", JobError(code="x", detail="y"), after_s=60)

    assert [each.created_at for each in waiting] == [0.0, 1.0, 2.0]
    assert [each for each in steps if not _is_quick(each)] == []


def _is_quick(step: str) -> bool:
    """Whether the step goes to the rows it needs; the sent and the running ones are always few."""
    if step.startswith("SCAN"):
        return step.endswith(("USING INDEX ix_jobs_sent", "USING INDEX ix_jobs_owned"))
    return any(each in step for each in ("ix_jobs_waiting", "ix_jobs_sent", "(id=?)"))
