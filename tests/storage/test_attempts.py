"""Attempts: every try at a job is recorded with what it came to."""

from collections.abc import Callable

import pytest

from darkroom.domain import Job
from storage import Storage
from storage.attempts import LEASE_LOST
from tests.storage.builders import AN_ERROR, claimed, queued, running

End = Callable[[Storage, Job], object]


def succeed(storage: Storage, job: Job) -> None:
    storage.attempts.succeed(job, [], warnings=[])


def cancel(storage: Storage, job: Job) -> None:
    storage.jobs.request_cancel(job.id)
    storage.attempts.cancel_held(job)


def request_cancel(storage: Storage, job: Job) -> None:
    storage.jobs.request_cancel(job.id)


def fail(storage: Storage, job: Job) -> None:
    storage.attempts.fail(job, AN_ERROR)


def hand_back(storage: Storage, job: Job) -> None:
    storage.attempts.hand_back(job, detail="The worker was stopped.")


def lose(storage: Storage, job: Job) -> None:
    storage.attempts.hand_back(job, outcome=LEASE_LOST, detail="w1 died")


def reroute(storage: Storage, job: Job) -> None:
    storage.attempts.reroute(job, AN_ERROR, engine="e", model="m", request=job.request, warning="w")


@pytest.mark.parametrize(
    ("end", "outcome", "detail"),
    [
        (succeed, "succeeded", None),
        (cancel, "canceled", None),
        (fail, "engine_failed", "It broke."),
        (hand_back, "handed_back", "The worker was stopped."),
        (lose, "lease_lost", "w1 died"),
        (reroute, "engine_failed", "It broke."),
    ],
)
def test_an_attempt_is_kept_with_what_it_came_to(
    storage: Storage, owner_id: str, end: End, outcome: str, detail: str | None
) -> None:
    job = running(storage, owner_id)

    end(storage, job)

    (attempt,) = storage.attempts.of_job(job.id)
    assert (attempt.number, attempt.outcome, attempt.detail) == (1, outcome, detail)
    assert attempt.ended_at is not None
    assert attempt.ended_at >= attempt.started_at


def test_an_attempt_is_known_while_it_runs(storage: Storage, owner_id: str) -> None:
    job = claimed(storage, queued(storage, owner_id), worker="w7")

    (attempt,) = storage.attempts.of_job(job.id)

    assert (attempt.engine, attempt.model, attempt.worker) == ("builtin", "placeholder", "w7")
    assert (attempt.started_at, attempt.ended_at, attempt.outcome) == (job.started_at, None, None)


def test_attempts_are_listed_in_order_each_with_its_own_engine(
    storage: Storage, owner_id: str
) -> None:
    job = running(storage, owner_id)
    lose(storage, job)
    job = claimed(storage, job)
    reroute(storage, job)
    claimed(storage, job)

    attempts = storage.attempts.of_job(job.id)

    assert [(each.number, each.engine, each.outcome) for each in attempts] == [
        (1, "builtin", "lease_lost"),
        (2, "builtin", "engine_failed"),
        (3, "e", None),
    ]


def test_a_late_end_does_not_rewrite_what_is_recorded(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)
    lose(storage, job)

    fail(storage, job)

    (attempt,) = storage.attempts.of_job(job.id)
    assert attempt.outcome == "lease_lost"


def test_a_worker_finds_its_own_claim_again(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)

    found = storage.attempts.adopt(job.id, worker="w1", lease_s=500)

    assert found == storage.jobs.get(job.id)
    assert found.attempt == job.attempt
    assert (found.lease_until or 0) > (job.lease_until or 0) + 400


@pytest.mark.parametrize("end", [succeed, cancel, fail, hand_back, request_cancel])
def test_a_claim_that_came_to_something_is_not_found_again(
    storage: Storage, owner_id: str, end: End
) -> None:
    job = running(storage, owner_id)
    end(storage, job)

    assert storage.attempts.adopt(job.id, worker="w1", lease_s=30) is None


def test_the_claim_of_another_worker_is_not_found(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)

    assert storage.attempts.adopt(job.id, worker="w2", lease_s=30) is None

    assert storage.jobs.get(job.id) == job


def test_a_job_nobody_took_has_no_attempts(storage: Storage, owner_id: str) -> None:
    assert storage.attempts.of_job(queued(storage, owner_id).id) == []


@pytest.mark.parametrize("lease_s", [-1, 30])
def test_a_job_is_taken_from_its_worker_only_while_its_lease_is_expired(
    storage: Storage, owner_id: str, lease_s: float
) -> None:
    failed, waiting, canceled = (running(storage, owner_id, lease_s=lease_s) for _ in range(3))
    storage.jobs.request_cancel(canceled.id)
    attempts = storage.attempts.if_expired()

    taken = {
        attempts.fail(failed, AN_ERROR),
        attempts.hand_back(waiting),
        attempts.cancel_held(canceled),
    }

    assert taken == {lease_s < 0}
