"""Jobs: accepted once, moved only as the table of transitions says, by whoever holds them."""

from collections.abc import Callable
from functools import partial
from itertools import product

import pytest

from darkroom.domain import (
    TRANSITIONS,
    ImageRequest,
    Job,
    JobError,
    JobStatus,
    Operation,
    Size,
)
from darkroom.errors import LeaseLost, NotFound
from storage import Storage
from tests.storage.builders import (
    AN_ERROR,
    a_job,
    claimed,
    queued,
    running,
    shown,
    together,
)

QUEUED, RUNNING, CANCELING, SUCCEEDED, FAILED, CANCELED = JobStatus

Verb = Callable[[Storage, Job], object]


def claim(storage: Storage, job: Job) -> None:
    storage.attempts.claim(job.id, worker="w2", lease_s=30)


def succeed(storage: Storage, job: Job) -> None:
    storage.attempts.succeed(job, [], warnings=[])


def fail(storage: Storage, job: Job) -> None:
    storage.attempts.fail(job, AN_ERROR)


def cancel_held(storage: Storage, job: Job) -> None:
    storage.attempts.cancel_held(job)


def hand_back(storage: Storage, job: Job) -> None:
    storage.attempts.hand_back(job)


def request_cancel(storage: Storage, job: Job) -> None:
    storage.jobs.request_cancel(job.id)


def expire(storage: Storage, job: Job) -> None:
    storage.jobs.expire()


def reroute(storage: Storage, job: Job) -> None:
    storage.attempts.reroute(job, AN_ERROR, engine="e", model="m", request=job.request, warning="w")


#: Every verb that changes a state, and what it does; in any other state it changes nothing.
MOVES: dict[Verb, dict[JobStatus, JobStatus]] = {
    claim: {QUEUED: RUNNING},
    succeed: {RUNNING: SUCCEEDED, CANCELING: SUCCEEDED},
    fail: {RUNNING: FAILED, CANCELING: FAILED},
    cancel_held: {CANCELING: CANCELED},
    hand_back: {RUNNING: QUEUED},
    reroute: {RUNNING: QUEUED},
    expire: {QUEUED: FAILED},
    request_cancel: {QUEUED: CANCELED, RUNNING: CANCELING},
}


def in_state(storage: Storage, owner_id: str, status: JobStatus) -> Job:
    """A job in this state, as its worker would hold it."""
    job = queued(storage, owner_id, deadline=1.0)
    if status is QUEUED:
        return job
    held = claimed(storage, job)
    if status in (CANCELING, CANCELED):
        request_cancel(storage, held)
    ends = {SUCCEEDED: succeed, FAILED: fail, CANCELED: cancel_held}
    if status in ends:
        ends[status](storage, held)
    return storage.jobs.get(job.id)


@pytest.mark.parametrize(
    ("verb", "before"),
    list(product(MOVES, JobStatus)),
    ids=lambda each: each.value if isinstance(each, JobStatus) else each.__name__,
)
def test_a_verb_moves_a_job_only_from_where_it_may(
    storage: Storage, owner_id: str, verb: Verb, before: JobStatus
) -> None:
    job = in_state(storage, owner_id, before)

    verb(storage, job)

    after = storage.jobs.get(job.id)
    if before in MOVES[verb]:
        assert after.status is MOVES[verb][before]
    else:
        assert after == job


def test_the_verbs_cover_the_table_of_transitions() -> None:
    allowed = {(before, after) for before, targets in TRANSITIONS.items() for after in targets}

    assert {pair for moves in MOVES.values() for pair in moves.items()} == allowed


@pytest.mark.parametrize("ask", [succeed, fail, cancel_held, hand_back, reroute])
def test_a_stale_attempt_ends_nothing(storage: Storage, owner_id: str, ask: Verb) -> None:
    stale = running(storage, owner_id)
    storage.attempts.hand_back(stale)
    current = claimed(storage, stale)

    ask(storage, stale)

    assert storage.jobs.get(stale.id) == current


def test_a_stale_attempt_notes_nothing(storage: Storage, owner_id: str) -> None:
    stale = running(storage, owner_id)
    storage.attempts.hand_back(stale)
    current = claimed(storage, stale)

    with pytest.raises(LeaseLost):
        storage.attempts.note(stale, progress=0.9, upstream_id="late")

    assert storage.jobs.get(stale.id) == current


def test_a_stale_attempt_renews_nothing(storage: Storage, owner_id: str) -> None:
    stale = running(storage, owner_id)
    storage.attempts.hand_back(stale)
    current = claimed(storage, stale)

    ours = storage.attempts.renew("w1", {stale.id: stale.attempt}, lease_s=999)

    assert ours == set()
    assert storage.jobs.get(stale.id) == current


def test_one_of_many_workers_gets_the_job(storage: Storage, owner_id: str) -> None:
    job = queued(storage, owner_id)

    claims = together(
        *(
            partial(storage.attempts.claim, job.id, worker=f"w{number}", lease_s=30)
            for number in range(12)
        )
    )

    (winner,) = [each for each in claims if each is not None]
    assert storage.jobs.get(job.id) == winner
    assert winner.attempt == 1


def test_a_job_comes_back_as_it_was_accepted(storage: Storage, owner_id: str) -> None:
    request = ImageRequest(
        prompt="a lighthouse 🌊",
        operation=Operation.EDIT,
        count=3,
        size=Size(640, 480),
        steps=20,
        negative_prompt="people",
        seed=2**40,
        quality="high",
        output_format="webp",
        background="transparent",
    )
    new = a_job(
        owner_id,
        request=request,
        warnings=("n: too many",),
        metadata={"chat_id": "c1", "tags": ["a", "b"]},
        request_id="r-1",
    )

    accepted, is_new = storage.jobs.submit(new)

    assert is_new
    job = storage.jobs.get(accepted.id)
    assert job == accepted
    assert job.request == request
    assert job.warnings == ("n: too many",)
    assert job.metadata == {"chat_id": "c1", "tags": ["a", "b"]}
    assert (job.status, job.attempt, job.request_id) == (QUEUED, 0, "r-1")


def test_a_failure_is_kept_with_its_reason(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)
    error = JobError(
        code="request_rejected", detail="No.", retryable=True, param="size", upstream_status=400
    )

    storage.attempts.fail(job, error)

    failed = storage.jobs.get(job.id)
    assert failed.error == error
    assert failed.finished_at is not None
    assert failed.lease_until is None


def test_a_success_is_kept_with_pictures_and_warnings(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id, metadata={"chat_id": "c1", "message_id": "m1"})
    kept = storage.gallery.keep(job, [])

    storage.attempts.succeed(job, kept, warnings=["n: fewer"])

    done = storage.jobs.get(job.id)
    assert (done.status, done.progress, done.warnings) == (SUCCEEDED, 1.0, ("n: fewer",))


def test_a_job_of_someone_else_is_not_found(storage: Storage, owner_id: str) -> None:
    job = queued(storage, owner_id)

    with pytest.raises(NotFound):
        storage.jobs.get(job.id, owner_id="someone else")


def test_an_unknown_job_is_not_found(storage: Storage) -> None:
    with pytest.raises(NotFound, match="nope"):
        storage.jobs.get("nope")


def test_an_unknown_job_cannot_be_canceled(storage: Storage) -> None:
    with pytest.raises(NotFound):
        storage.jobs.request_cancel("nope")


def test_asking_to_cancel_returns_the_job_as_it_is_then(storage: Storage, owner_id: str) -> None:
    job = queued(storage, owner_id)

    canceled = storage.jobs.request_cancel(job.id)

    assert canceled.status is CANCELED
    assert canceled.finished_at is not None
    assert storage.jobs.request_cancel(job.id) == canceled


def test_a_cancel_is_not_lost_to_a_job_that_is_handed_back(storage: Storage, owner_id: str) -> None:
    for _ in range(25):
        job = running(storage, owner_id)

        together(partial(hand_back, storage, job), partial(request_cancel, storage, job))

        assert storage.jobs.get(job.id).status in (CANCELED, CANCELING)


def test_progress_and_the_upstream_id_are_noted(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)

    storage.attempts.note(job, upstream_id="run-7")
    storage.attempts.note(job, progress=0.5)

    noted = storage.jobs.get(job.id)
    assert (noted.progress, noted.upstream_id) == (0.5, "run-7")


@pytest.mark.parametrize(("reported", "kept"), [(-3.0, 0.0), (7.5, 1.0)])
def test_progress_stays_between_nothing_and_all(
    storage: Storage, owner_id: str, reported: float, kept: float
) -> None:
    job = running(storage, owner_id)

    storage.attempts.note(job, progress=reported)

    assert storage.jobs.get(job.id).progress == kept


def test_progress_that_is_not_a_number_is_no_news(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)
    storage.attempts.note(job, progress=0.5)

    storage.attempts.note(job, progress=float("nan"), upstream_id="run-7")

    noted = storage.jobs.get(job.id)
    assert (noted.progress, noted.upstream_id) == (0.5, "run-7")


def test_a_note_of_nothing_still_asks_whose_the_job_is(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)

    storage.attempts.note(job)
    storage.attempts.hand_back(job)

    with pytest.raises(LeaseLost):
        storage.attempts.note(job)


def test_renewing_returns_what_is_still_held(storage: Storage, owner_id: str) -> None:
    mine = running(storage, owner_id)
    canceling = in_state(storage, owner_id, CANCELING)
    finished = in_state(storage, owner_id, SUCCEEDED)
    handed_back = running(storage, owner_id)
    storage.attempts.hand_back(handed_back)
    taken = running(storage, owner_id)
    storage.attempts.hand_back(taken)
    claimed(storage, taken, worker="w2")
    held = {each.id: 1 for each in (mine, canceling, finished, handed_back, taken)}

    ours = storage.attempts.renew("w1", held | {"unknown": 1}, lease_s=500)

    assert ours == {mine.id, canceling.id}
    assert (storage.jobs.get(mine.id).lease_until or 0) > (mine.lease_until or 0) + 400
    assert storage.attempts.canceling_among(ours) == {canceling.id}


def test_renewing_nothing_needs_no_database(storage: Storage) -> None:
    assert storage.attempts.renew("w1", {}, lease_s=30) == set()


def test_jobs_whose_lease_ran_out_are_found(storage: Storage, owner_id: str) -> None:
    lost = running(storage, owner_id, lease_s=-1)
    lost_while_canceling = running(storage, owner_id, lease_s=-2)
    storage.jobs.request_cancel(lost_while_canceling.id)
    running(storage, owner_id, lease_s=30)
    finished = running(storage, owner_id, lease_s=-1)
    shown(storage, finished)

    found = [each.id for each in storage.attempts.with_expired_lease()]

    assert found == [lost_while_canceling.id, lost.id]


def test_a_late_worker_may_still_finish_what_nobody_took(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id, lease_s=-1)

    assert storage.attempts.succeed(job, [], warnings=[])
