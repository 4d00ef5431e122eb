"""A job whose attempt brought no pictures fails, waits for another, or ends as canceled."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from darkroom.domain import Job, JobStatus
from darkroom.errors import (
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    ModelNotOffered,
    OutcomeUnknown,
    RequestRejected,
)
from storage import Storage
from storage.health import FAILURES_TO_REST
from tests.worker.doubles import IMPATIENT, PATIENT, an_aftermath
from worker.aftermath import Aftermath
from worker.outcomes import Policy

Submit = Callable[..., Job]
Hold = Callable[..., Job]
End = Callable[[Aftermath, Job], bool]

MISCONFIGURED = Misconfigured.code

FAILED, QUEUED, CANCELED = JobStatus.FAILED, JobStatus.QUEUED, JobStatus.CANCELED


def lost(aftermath: Aftermath, job: Job) -> bool:
    return aftermath.lost(job)


def interrupted(aftermath: Aftermath, job: Job) -> bool:
    return aftermath.interrupted(job)


def not_begun(aftermath: Aftermath, job: Job) -> bool:
    return aftermath.not_begun(job)


def busy(aftermath: Aftermath, job: Job) -> bool:
    return aftermath.failed(job, EngineBusy("Not now."))


@pytest.fixture
def aftermath(storage: Storage) -> Aftermath:
    return an_aftermath(storage)


@pytest.fixture
def hold(storage: Storage, submit: Submit) -> Hold:
    """A job in the hands of worker w1, whose lease ran out: only `lost` asks for that."""

    def make(**rest: object) -> Job:
        held = storage.attempts.claim(submit(**rest).id, worker="w1", lease_s=-1)
        assert held is not None
        return held

    return make


def again(storage: Storage, job: Job) -> Job:
    """The next attempt at a job, once its delay is over."""
    with storage.database.writing() as connection:
        connection.exec_driver_sql("UPDATE jobs SET not_before = NULL")
    held = storage.attempts.claim(job.id, worker="w1", lease_s=-1)
    assert held is not None
    return held


def outcome(storage: Storage, job: Job) -> tuple[JobStatus, str | None, str | None]:
    """The job's state, its error's code, and what its last attempt came to."""
    now = storage.jobs.get(job.id)
    last = storage.attempts.of_job(job.id)[-1]
    return now.status, now.error.code if now.error else None, last.outcome


@pytest.mark.parametrize(
    ("engine", "error", "wanted"),
    [
        ("scripted", EngineBusy("No."), (QUEUED, None, "engine_busy")),
        ("paid", EngineBusy("No."), (QUEUED, None, "engine_busy")),
        ("paid", EngineUnreachable("No."), (QUEUED, None, "engine_unreachable")),
        ("scripted", EngineFailed("No."), (QUEUED, None, "engine_failed")),
        ("paid", EngineFailed("No."), (FAILED, "engine_failed", "engine_failed")),
        ("scripted", OutcomeUnknown("No."), (QUEUED, None, "outcome_unknown")),
        ("paid", OutcomeUnknown("No."), (FAILED, "outcome_unknown", "outcome_unknown")),
        ("unheard-of", OutcomeUnknown("No."), (FAILED, "outcome_unknown", "outcome_unknown")),
        ("scripted", RequestRejected("No."), (FAILED, "request_rejected", "request_rejected")),
        ("scripted", Misconfigured("No."), (FAILED, MISCONFIGURED, MISCONFIGURED)),
    ],
)
def test_a_failed_attempt_ends_the_job_or_lets_it_wait(
    storage: Storage,
    aftermath: Aftermath,
    hold: Hold,
    engine: str,
    error: EngineError,
    wanted: tuple[JobStatus, str | None, str],
) -> None:
    job = hold(engine=engine)

    is_finished = aftermath.failed(job, error)

    assert outcome(storage, job) == wanted
    assert is_finished is (wanted[0] is FAILED)


def test_a_job_that_tries_again_does_so_later(
    storage: Storage, aftermath: Aftermath, hold: Hold
) -> None:
    job = hold()

    aftermath.failed(job, EngineBusy("No.", retry_after_s=600))

    due = storage.jobs.get(job.id).not_before
    assert due is not None
    assert due > job.created_at + 500


def test_a_job_is_tried_only_so_often(storage: Storage, aftermath: Aftermath, hold: Hold) -> None:
    job, ends = hold(), []

    for number in range(PATIENT.max_attempts):
        job = again(storage, job) if number else job
        ends.append(aftermath.failed(job, EngineFailed("No.")))

    assert ends == [False, False, True]
    assert outcome(storage, job) == (FAILED, "engine_failed", "engine_failed")


def test_waiting_for_a_busy_engine_uses_up_no_tries(
    storage: Storage, aftermath: Aftermath, hold: Hold
) -> None:
    job = hold()
    for _ in range(PATIENT.max_attempts + 1):
        aftermath.failed(job, EngineBusy("No."))
        job = again(storage, job)

    assert not aftermath.failed(job, EngineFailed("No."))


def test_handing_back_uses_up_no_tries(storage: Storage, aftermath: Aftermath, hold: Hold) -> None:
    job = hold()
    for _ in range(PATIENT.max_attempts + 1):
        aftermath.interrupted(job)
        job = again(storage, job)

    assert not aftermath.lost(job)


def test_an_engine_that_is_away_again_and_again_rests(
    storage: Storage, aftermath: Aftermath, hold: Hold
) -> None:
    for held in [hold() for _ in range(FAILURES_TO_REST)]:
        aftermath.failed(held, EngineUnreachable("No."))

    assert storage.health.rests("scripted")


@pytest.mark.parametrize("kind", [ModelNotOffered, RequestRejected, EngineBusy, EngineFailed])
def test_an_engine_does_not_rest_for_the_fault_of_others(
    storage: Storage, aftermath: Aftermath, hold: Hold, kind: type[EngineError]
) -> None:
    for held in [hold() for _ in range(FAILURES_TO_REST)]:
        aftermath.failed(held, kind("No."))

    assert storage.health.ailments() == {}


@pytest.mark.parametrize(
    ("engine", "upstream_id", "wanted"),
    [
        ("scripted", None, QUEUED),
        ("paid", None, FAILED),
        ("paid", "run-7", FAILED),
        ("resuming", None, FAILED),
        ("resuming", "run-7", QUEUED),
        ("unheard-of", "run-7", FAILED),
    ],
)
@pytest.mark.parametrize(("end", "came_to"), [(lost, "lease_lost"), (interrupted, "handed_back")])
def test_a_job_without_its_worker_is_repeated_where_nobody_pays_twice(
    storage: Storage,
    aftermath: Aftermath,
    hold: Hold,
    end: End,
    came_to: str,
    engine: str,
    upstream_id: str | None,
    wanted: JobStatus,
) -> None:
    job = hold(engine=engine)
    storage.attempts.note(job, upstream_id=upstream_id)

    is_finished = end(aftermath, job)

    unknown = (FAILED, "outcome_unknown", "outcome_unknown")
    assert outcome(storage, job) == (unknown if wanted is FAILED else (QUEUED, None, came_to))
    assert is_finished is (wanted is FAILED)


@pytest.mark.parametrize("engine", ["scripted", "paid", "resuming", "unheard-of"])
@pytest.mark.parametrize("upstream_id", [None, "run-7"])
def test_a_job_that_was_not_begun_waits_again_with_the_run_of_the_attempt_before(
    storage: Storage, aftermath: Aftermath, hold: Hold, engine: str, upstream_id: str | None
) -> None:
    job = hold(engine=engine)
    storage.attempts.note(job, upstream_id=upstream_id)

    assert not aftermath.not_begun(job)

    assert outcome(storage, job) == (QUEUED, None, "handed_back")
    assert storage.jobs.get(job.id).upstream_id == upstream_id


@pytest.mark.parametrize("end", [lost, interrupted])
def test_a_paid_job_is_repeated_where_the_admin_allows_it(
    storage: Storage, hold: Hold, end: End
) -> None:
    job = hold(engine="paid")

    end(an_aftermath(storage, policy=replace(PATIENT, repeat_paid=True)), job)

    assert storage.jobs.get(job.id).status is QUEUED


def test_a_job_whose_workers_die_is_given_up(
    storage: Storage, aftermath: Aftermath, hold: Hold
) -> None:
    job, ends = hold(), []

    for number in range(PATIENT.max_attempts):
        job = again(storage, job) if number else job
        ends.append(aftermath.lost(job))

    assert ends == [False, False, True]
    assert outcome(storage, job) == (FAILED, "workers_died", "workers_died")


@pytest.mark.parametrize("end", [lost, interrupted, not_begun, busy])
def test_a_job_that_is_being_canceled_is_not_repeated(
    storage: Storage, aftermath: Aftermath, hold: Hold, end: End
) -> None:
    job = hold()
    storage.jobs.request_cancel(job.id)

    assert end(aftermath, job)

    assert outcome(storage, job) == (CANCELED, None, "canceled")


@pytest.mark.parametrize("engine", ["scripted", "paid"])
def test_a_dead_workers_job_that_was_being_canceled_ends_canceled(
    storage: Storage, aftermath: Aftermath, hold: Hold, engine: str
) -> None:
    before = hold(engine=engine)
    storage.jobs.request_cancel(before.id)

    assert aftermath.lost(before)

    assert outcome(storage, before) == (CANCELED, None, "canceled")


@pytest.mark.parametrize("is_canceling", [False, True])
@pytest.mark.parametrize(
    ("engine", "policy"), [("scripted", PATIENT), ("scripted", IMPATIENT), ("paid", PATIENT)]
)
def test_a_job_whose_lease_was_renewed_after_it_was_read_is_not_lost(
    storage: Storage, hold: Hold, engine: str, policy: Policy, is_canceling: bool
) -> None:
    job = hold(engine=engine)
    if is_canceling:
        job = storage.jobs.request_cancel(job.id)
    storage.attempts.renew("w1", {job.id: job.attempt}, lease_s=30)
    renewed = storage.jobs.get(job.id)

    assert not an_aftermath(storage, policy=policy).lost(job)

    assert storage.jobs.get(job.id) == renewed


@pytest.mark.parametrize("end", [lost, interrupted, not_begun, busy])
@pytest.mark.parametrize("engine", ["scripted", "paid"])
def test_an_attempt_that_lost_its_job_decides_nothing(
    storage: Storage, aftermath: Aftermath, hold: Hold, end: End, engine: str
) -> None:
    stale = hold(engine=engine)
    storage.attempts.hand_back(stale)
    current = storage.attempts.claim(stale.id, worker="w2", lease_s=-1)

    assert not end(aftermath, stale)

    assert storage.jobs.get(stale.id) == current


def test_a_run_whose_answer_was_lost_is_gone_on_with_where_that_is_possible(
    storage: Storage, aftermath: Aftermath, hold: Hold
) -> None:
    job = hold(engine="resuming")
    storage.attempts.note(job, upstream_id="run-7")

    is_finished = aftermath.failed(job, OutcomeUnknown("The answer was lost."))

    assert not is_finished
    assert outcome(storage, job) == (QUEUED, None, "outcome_unknown")
    assert storage.jobs.get(job.id).upstream_id == "run-7"


def test_a_run_that_failed_is_not_gone_on_with(
    storage: Storage, aftermath: Aftermath, hold: Hold
) -> None:
    job = hold(engine="resuming")
    storage.attempts.note(job, upstream_id="run-7")

    aftermath.failed(job, EngineBusy("Not now."))

    assert storage.jobs.get(job.id).upstream_id is None


def test_a_paid_job_that_is_canceled_while_its_worker_stops_ends_as_canceled(
    storage: Storage, aftermath: Aftermath, hold: Hold
) -> None:
    job = hold(engine="paid")
    storage.jobs.request_cancel(job.id)

    assert aftermath.interrupted(job)

    assert storage.jobs.get(job.id).status is CANCELED


@pytest.mark.parametrize("kind", [EngineBusy, EngineUnreachable])
def test_a_run_that_an_earlier_attempt_began_is_not_forgotten_when_nobody_answers(
    storage: Storage, aftermath: Aftermath, hold: Hold, kind: type[EngineError]
) -> None:
    first = hold(engine="resuming")
    storage.attempts.note(first, upstream_id="run-7")
    aftermath.lost(first)
    second = again(storage, first)

    aftermath.failed(second, kind("Not now."))

    assert outcome(storage, second)[0] is QUEUED
    assert storage.jobs.get(first.id).upstream_id == "run-7"


def test_patience_begins_with_the_first_try(
    storage: Storage, aftermath: Aftermath, hold: Hold
) -> None:
    job = hold()
    waited_long = replace(job, created_at=job.created_at - PATIENT.patience_s - 60)

    is_finished = aftermath.failed(waited_long, EngineBusy("Not now."))

    assert not is_finished
    assert storage.jobs.get(job.id).status is QUEUED
