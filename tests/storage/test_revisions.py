"""A job's revision grows with whatever a reader can see of it, and with nothing else."""

from collections.abc import Callable

import pytest

from darkroom.domain import Job
from storage import Storage
from tests.storage.builders import AN_ERROR, claimed, queued, running, sent

Change = Callable[[Storage, Job], object]

WAITING: dict[str, Change] = {
    "claim": lambda storage, job: claimed(storage, job),
    "cancel": lambda storage, job: storage.jobs.request_cancel(job.id),
    "expire": lambda storage, job: storage.jobs.expire(),
    "reroute_waiting": lambda storage, job: storage.jobs.reroute_waiting(
        job, engine="e", model="m", request=job.request, warning="w"
    ),
}

RUNNING: dict[str, Change] = {
    "progress": lambda storage, job: storage.attempts.note(job, progress=0.5),
    "succeed": lambda storage, job: storage.attempts.succeed(job, [], warnings=[]),
    "fail": lambda storage, job: storage.attempts.fail(job, AN_ERROR),
    "ask to cancel": lambda storage, job: storage.jobs.request_cancel(job.id),
    "hand back": lambda storage, job: storage.attempts.hand_back(job),
    "reroute": lambda storage, job: storage.attempts.reroute(
        job, AN_ERROR, engine="e", model="m", request=job.request, warning="w"
    ),
}


@pytest.mark.parametrize("change", WAITING.values(), ids=WAITING.keys())
def test_a_change_of_a_waiting_job_is_seen(storage: Storage, owner_id: str, change: Change) -> None:
    job = queued(storage, owner_id, deadline=1000.0)

    change(storage, job)

    assert storage.jobs.get(job.id).revision == job.revision + 1


@pytest.mark.parametrize("change", RUNNING.values(), ids=RUNNING.keys())
def test_a_change_of_a_running_job_is_seen(storage: Storage, owner_id: str, change: Change) -> None:
    job = running(storage, owner_id)

    change(storage, job)

    assert storage.jobs.get(job.id).revision == job.revision + 1


def test_a_change_that_was_refused_is_none(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)
    storage.attempts.hand_back(job)
    back = storage.jobs.get(job.id)

    storage.attempts.fail(job, AN_ERROR)
    storage.attempts.hand_back(job)

    assert storage.jobs.get(job.id) == back


def test_what_no_reader_sees_is_no_change(storage: Storage, owner_id: str) -> None:
    waiting, held = queued(storage, owner_id), running(storage, owner_id)

    sent(storage)
    storage.attempts.renew("w1", {held.id: held.attempt}, lease_s=60)

    assert storage.jobs.get(waiting.id).revision == waiting.revision
    assert storage.jobs.get(held.id).revision == held.revision
