"""Jobs that wait: until they are due, for another model, or until nobody wants them any more."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from darkroom.domain import ImageRequest, Job, JobError, JobStatus
from storage import Storage
from storage.health import FAILURES_TO_REST
from storage.tables import attempts
from tests.storage.builders import (
    AN_ERROR,
    a_job,
    claimed,
    queued,
    running,
    sent,
    status_of,
    with_times,
)

LATER = 2e10


def rest(storage: Storage, engine: str) -> None:
    for _ in range(FAILURES_TO_REST):
        storage.health.note_failure(engine, code="engine_unreachable", reason="Away.")


def reroute_waiting(storage: Storage, job: Job, *, model: str = "placeholder") -> bool:
    return storage.jobs.reroute_waiting(
        job, engine="other", model=model, request=job.request, warning="model: another one."
    )


def test_a_job_that_is_not_due_cannot_be_claimed(storage: Storage, owner_id: str) -> None:
    job = queued(storage, owner_id)
    with_times(storage, job, not_before=LATER)
    before = storage.jobs.get(job.id)

    assert storage.attempts.claim(job.id, worker="w1", lease_s=30) is None
    assert storage.jobs.get(job.id) == before


def test_a_job_that_became_due_can_be_claimed(storage: Storage, owner_id: str) -> None:
    job = queued(storage, owner_id)
    with_times(storage, job, not_before=1000.0)

    assert claimed(storage, job).not_before is None


def test_a_job_of_an_engine_that_rests_cannot_be_claimed(storage: Storage, owner_id: str) -> None:
    job, other = queued(storage, owner_id), queued(storage, owner_id, engine="other")
    rest(storage, "builtin")

    assert storage.attempts.claim(job.id, worker="w1", lease_s=30) is None
    claimed(storage, other)


def test_a_job_handed_back_waits_at_once(storage: Storage, owner_id: str) -> None:
    job = queued(storage, owner_id)
    sent(storage)
    held = claimed(storage, job)

    storage.attempts.hand_back(held)

    back = storage.jobs.get(job.id)
    assert (back.worker, back.lease_until, back.not_before) == (None, None, None)
    assert sent(storage) == [job.id]


def test_a_job_handed_back_with_a_delay_is_not_due_yet(storage: Storage, owner_id: str) -> None:
    held = running(storage, owner_id)

    storage.attempts.hand_back(held, delay_s=3600)

    due = storage.jobs.get(held.id).not_before
    assert due is not None
    assert due > (held.started_at or 0) + 3000
    assert sent(storage) == []


def test_a_run_upstream_is_known_to_the_next_attempt(storage: Storage, owner_id: str) -> None:
    held = running(storage, owner_id)
    storage.attempts.note(held, upstream_id="run-7")

    storage.attempts.hand_back(held)

    assert claimed(storage, held).upstream_id == "run-7"


def test_a_rerouted_job_waits_for_the_other_model_and_says_so(
    storage: Storage, owner_id: str
) -> None:
    held = running(storage, owner_id, warnings=("before",))
    storage.attempts.note(held, upstream_id="run-7")
    request = replace(held.request, prompt="the same, fitted")

    storage.attempts.reroute(
        held, AN_ERROR, engine="other", model="m2", request=request, warning="model: another one."
    )

    job = storage.jobs.get(held.id)
    assert (job.status, job.engine, job.model) == (JobStatus.QUEUED, "other", "m2")
    assert job.request == request
    assert job.warnings == ("before", "model: another one.")
    assert (job.upstream_id, job.error) == (None, None)
    assert sent(storage, engine="other") == [job.id]


@pytest.mark.parametrize("was_sent", [False, True])
def test_a_waiting_job_can_be_rerouted(storage: Storage, owner_id: str, was_sent: bool) -> None:
    job = queued(storage, owner_id)
    if was_sent:
        sent(storage)
    else:
        with_times(storage, job, not_before=LATER)

    assert reroute_waiting(storage, job)

    assert sent(storage) == []
    assert sent(storage, engine="other") == [job.id]
    assert storage.jobs.get(job.id).warnings == ("model: another one.",)


def test_a_waiting_job_is_rerouted_once(storage: Storage, owner_id: str) -> None:
    job = queued(storage, owner_id)

    assert reroute_waiting(storage, job, model="first")
    assert not reroute_waiting(storage, job, model="second")

    rerouted = storage.jobs.get(job.id)
    assert (rerouted.model, len(rerouted.warnings)) == ("first", 1)


def test_a_job_that_was_claimed_meanwhile_is_not_rerouted(storage: Storage, owner_id: str) -> None:
    job = queued(storage, owner_id)
    held = claimed(storage, job)

    assert not reroute_waiting(storage, job)
    assert storage.jobs.get(job.id) == held


def test_jobs_for_some_models_are_found_the_oldest_first(storage: Storage, owner_id: str) -> None:
    jobs = [queued(storage, owner_id, model=each) for each in ("a", "b", "a", "c")]
    for place, each in enumerate(jobs):
        with_times(storage, each, created_at=1000.0 - place)
    queued(storage, owner_id, model="a", engine="other")
    running(storage, owner_id, model="a")

    def found(limit: int) -> list[str]:
        return [each.id for each in storage.jobs.waiting_for("builtin", {"a", "c"}, limit=limit)]

    assert found(10) == [jobs[3].id, jobs[2].id, jobs[0].id]
    assert found(2) == [jobs[3].id, jobs[2].id]


def test_a_waiting_job_fails_at_its_deadline(storage: Storage, owner_id: str) -> None:
    late, sent_late = (queued(storage, owner_id, deadline=1000.0) for _ in range(2))
    sent(storage, window=1)
    in_time, busy = queued(storage, owner_id, deadline=LATER), queued(storage, owner_id)
    held = running(storage, owner_id, deadline=1000.0)

    expired = storage.jobs.expire()

    assert set(expired) == {late.id, sent_late.id}
    job = storage.jobs.get(late.id)
    assert job.status is JobStatus.FAILED
    assert job.finished_at is not None
    assert job.error == JobError(
        code="deadline_exceeded", detail="The job was still waiting at its deadline."
    )
    assert [storage.jobs.get(each.id).status for each in (in_time, busy, held)] == [
        JobStatus.QUEUED,
        JobStatus.QUEUED,
        JobStatus.RUNNING,
    ]


def test_jobs_of_one_engine_that_waited_for_so_long_are_given_up(
    storage: Storage, owner_id: str
) -> None:
    old, sent_old, fresh, running_ = (queued(storage, owner_id, engine="x") for _ in range(4))
    other = queued(storage, owner_id)
    for each in (old, sent_old, running_, other):
        with_times(storage, each, created_at=1000.0)
    with_times(storage, sent_old, sent_at=1000.0)
    claimed(storage, running_)

    given_up = storage.jobs.give_up_waiting("x", AN_ERROR, after_s=60)

    assert set(given_up) == {old.id, sent_old.id}
    failed = storage.jobs.get(old.id)
    assert (failed.status, failed.error) == (JobStatus.FAILED, AN_ERROR)
    assert failed.finished_at is not None
    assert {status_of(storage, each) for each in (fresh, other)} == {JobStatus.QUEUED}
    assert status_of(storage, running_) is JobStatus.RUNNING


def unattended(storage: Storage) -> list[str]:
    return sorted(storage.backlog.unattended(["builtin"], for_s=60))


def test_engines_that_nobody_draws_for_are_unattended(storage: Storage, owner_id: str) -> None:
    queued(storage, owner_id)
    queued(storage, owner_id, engine="x")
    with_times(storage, queued(storage, owner_id, engine="y"), sent_at=1000.0)

    assert unattended(storage) == ["x", "y"]


def test_an_engine_is_attended_while_somebody_draws_for_it_and_a_while_after(
    storage: Storage, owner_id: str
) -> None:
    queued(storage, owner_id, engine="x")
    job = running(storage, owner_id, engine="x")
    now_drawn = unattended(storage)
    storage.attempts.succeed(job, [], warnings=[])
    just_drawn = unattended(storage)
    with storage.database.writing() as connection:
        connection.execute(update(attempts).values(ended_at=1000.0))

    assert (now_drawn, just_drawn, unattended(storage)) == ([], [], ["x"])


def test_a_job_expires_once(storage: Storage, owner_id: str) -> None:
    queued(storage, owner_id, deadline=1000.0)
    storage.jobs.expire()

    assert storage.jobs.expire() == []


def test_what_a_job_was_accepted_with_comes_back(storage: Storage, owner_id: str) -> None:
    first = queued(storage, owner_id)
    new = a_job(owner_id, deadline=LATER, retry_of=first.id, request=ImageRequest(prompt="a boat"))

    job, _ = storage.jobs.submit(new)

    assert (job.deadline, job.retry_of, job.revision) == (LATER, first.id, 0)
    assert storage.jobs.get(job.id) == job
