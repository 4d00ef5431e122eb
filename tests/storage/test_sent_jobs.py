"""Jobs that were sent and never came: they wait again, and are sent again."""

import pytest

from darkroom.domain import Job, Lane
from storage import Storage
from tests.storage.builders import claimed, queued, sent, status_of, with_times


def waiting(storage: Storage) -> set[str]:
    """What would be taken now."""
    return set(sent(storage, window=1000))


@pytest.fixture
def jobs(storage: Storage, owner_id: str) -> list[Job]:
    """Three sent jobs: one just now, one a while ago, and one that runs already."""
    found = [queued(storage, owner_id) for _ in range(3)]
    sent(storage)
    with_times(storage, found[1], sent_at=1000.0)
    claimed(storage, found[2])
    return found


def test_a_sent_job_waits_again_when_it_could_not_be_handed_over(
    storage: Storage, jobs: list[Job]
) -> None:
    storage.backlog.put_back([jobs[0].id])

    assert waiting(storage) == {jobs[0].id}


def test_putting_back_a_running_job_changes_nothing(storage: Storage, jobs: list[Job]) -> None:
    before = storage.jobs.get(jobs[2].id)

    storage.backlog.put_back([jobs[2].id, "unknown"])

    assert storage.jobs.get(jobs[2].id) == before
    assert waiting(storage) == set()


def test_what_an_empty_queue_lost_waits_again(storage: Storage, jobs: list[Job]) -> None:
    count = storage.backlog.put_back_lost("builtin", is_queue_empty=True, older_than_s=60)

    assert count == 1
    assert waiting(storage) == {jobs[1].id}


def test_the_jobs_of_another_engine_are_not_lost(storage: Storage, jobs: list[Job]) -> None:
    assert storage.backlog.put_back_lost("openai", is_queue_empty=True, older_than_s=60) == 0


def test_a_job_that_a_later_one_overtook_is_lost(storage: Storage, jobs: list[Job]) -> None:
    count = storage.backlog.put_back_lost("builtin", is_queue_empty=False, older_than_s=60)

    assert count == 1
    assert waiting(storage) == {jobs[1].id}


@pytest.mark.parametrize(
    "overtaker", [{"lane": Lane.BATCH}, {"engine": "openai"}], ids=["lane", "engine"]
)
def test_jobs_overtake_only_those_of_their_own_line(
    storage: Storage, owner_id: str, overtaker: dict[str, object]
) -> None:
    with_times(storage, _sent_one(storage, owner_id), sent_at=1000.0)
    claimed(storage, _sent_one(storage, owner_id, **overtaker))

    assert storage.backlog.put_back_lost("builtin", is_queue_empty=False, older_than_s=60) == 0


def test_a_job_in_a_line_where_nothing_runs_is_not_lost(storage: Storage, owner_id: str) -> None:
    with_times(storage, _sent_one(storage, owner_id), sent_at=1000.0)

    assert storage.backlog.put_back_lost("builtin", is_queue_empty=False, older_than_s=60) == 0


def test_all_sent_jobs_wait_again_when_the_queues_are_lost(
    storage: Storage, jobs: list[Job], owner_id: str
) -> None:
    other = _sent_one(storage, owner_id, engine="openai")

    assert storage.backlog.put_back_all() == 3

    assert waiting(storage) == {jobs[0].id, jobs[1].id}
    assert sent(storage, engine="openai") == [other.id]


def test_an_overdue_batch_goes_to_the_other_line(storage: Storage, owner_id: str) -> None:
    older, old, fresh = (_sent_one(storage, owner_id, lane=Lane.BATCH) for _ in range(3))
    with_times(storage, older, sent_at=1000.0)
    with_times(storage, old, sent_at=2000.0)

    overdue = [storage.backlog.take_overdue("builtin", older_than_s=60) for _ in range(3)]

    assert [each and (each.id, each.engine, each.lane) for each in overdue] == [
        (older.id, "builtin", Lane.INTERACTIVE),
        (old.id, "builtin", Lane.INTERACTIVE),
        None,
    ]
    assert storage.jobs.get(fresh.id).lane is Lane.BATCH


def test_an_interactive_job_is_never_overdue(storage: Storage, owner_id: str) -> None:
    with_times(storage, _sent_one(storage, owner_id), sent_at=1000.0)

    assert storage.backlog.take_overdue("builtin", older_than_s=60) is None


def test_a_batch_that_runs_is_not_overdue(storage: Storage, owner_id: str) -> None:
    job = _sent_one(storage, owner_id, lane=Lane.BATCH)
    with_times(storage, job, sent_at=1000.0)
    held = claimed(storage, job)

    assert storage.backlog.take_overdue("builtin", older_than_s=60) is None
    assert status_of(storage, job) is held.status


def _sent_one(storage: Storage, owner_id: str, **rest: object) -> Job:
    job = queued(storage, owner_id, **rest)
    assert sent(storage, engine=job.engine, window=1000) == [job.id]
    return job
