"""Upkeep: nothing that a worker, the broker or the database dropped stays dropped."""

from collections.abc import Callable
from dataclasses import replace

import fakeredis
import pytest
from sqlalchemy import event, text

from darkroom.domain import BatchItem, Job, JobStatus
from darkroom.errors import Unavailable
from storage import Storage
from tests.storage.builders import accepted, an_item, back_in_queue
from tests.worker.doubles import (
    PATIENT,
    ROUND_EVERY_S,
    Caretaker,
    Clock,
    OutageDatabase,
    OutageFiles,
    Queue,
    a_picture,
)
from worker.dispatch import Dispatcher
from worker.upkeep import LOCK

Submit = Callable[..., Job]


def items(count: int) -> list[BatchItem]:
    return [an_item(number) for number in range(1, count + 1)]


def test_a_job_of_a_dead_worker_is_sent_again(
    storage: Storage, caretaker: Caretaker, queue: Queue, lose: Callable[..., Job]
) -> None:
    job = lose()

    caretaker.round()

    assert storage.jobs.get(job.id).status is JobStatus.QUEUED
    assert queue.ids == [job.id]
    assert caretaker.announced == []
    assert caretaker.changed == [job.id]


def test_a_job_is_sent_again_once(
    caretaker: Caretaker, queue: Queue, lose: Callable[..., Job]
) -> None:
    job = lose()

    caretaker.round()
    caretaker.round()

    assert queue.ids == [job.id]


def test_a_paid_job_of_a_dead_worker_is_never_repeated(
    storage: Storage, caretaker: Caretaker, queue: Queue, lose: Callable[..., Job]
) -> None:
    job = lose(engine="paid")

    caretaker.round()
    caretaker.round()

    failed = storage.jobs.get(job.id)
    assert failed.error is not None
    assert (failed.status, failed.error.code) == (JobStatus.FAILED, "outcome_unknown")
    assert queue.ids == []
    assert caretaker.announced == [failed]


def test_a_job_is_tried_again_only_so_often(
    storage: Storage, hire: Callable[..., Caretaker], queue: Queue, lose: Callable[..., Job]
) -> None:
    once, twice = lose(attempts=1), lose(attempts=2)
    caretaker = hire(policy=replace(PATIENT, max_attempts=2))

    caretaker.round()

    assert queue.ids == [once.id]
    failed = storage.jobs.get(twice.id)
    assert failed.error is not None
    assert "2 attempts" in failed.error.detail
    assert caretaker.announced == [failed]


def test_a_job_that_was_being_canceled_ends_as_canceled(
    storage: Storage, caretaker: Caretaker, queue: Queue, lose: Callable[..., Job]
) -> None:
    job = lose(engine="paid")
    storage.jobs.request_cancel(job.id)

    caretaker.round()

    canceled = storage.jobs.get(job.id)
    assert canceled.status is JobStatus.CANCELED
    assert queue.ids == []
    assert caretaker.announced == [canceled]


def test_a_job_of_a_living_worker_is_left_alone(
    storage: Storage, caretaker: Caretaker, submit: Submit
) -> None:
    job = submit()
    held = storage.attempts.claim(job.id, worker="w1", lease_s=30)

    caretaker.round()

    assert storage.jobs.get(job.id) == held


def test_a_job_whose_lease_is_renewed_during_a_round_goes_on_undisturbed(
    storage: Storage, caretaker: Caretaker, lose: Callable[..., Job]
) -> None:
    lost, alive = lose(), lose()
    storage.gallery.keep_preview(alive.id, b"half a lighthouse")

    def announce_change(job_id: str) -> None:
        caretaker.changed.append(job_id)
        storage.attempts.renew("dead", {alive.id: alive.attempt}, lease_s=30)

    caretaker.upkeep.announce_change = announce_change

    caretaker.round()

    goes_on = storage.jobs.get(alive.id)
    assert (goes_on.status, goes_on.attempt) == (JobStatus.RUNNING, 1)
    assert storage.gallery.has_preview(alive.id)
    assert caretaker.changed == [lost.id]


def test_files_of_a_dead_worker_are_removed(
    storage: Storage, caretaker: Caretaker, lose: Callable[..., Job]
) -> None:
    job = lose()
    storage.gallery.keep(job, [a_picture()])

    caretaker.round()

    assert storage.files.keys() == []


def test_leases_are_recovered_while_the_broker_is_away(
    storage: Storage,
    caretaker: Caretaker,
    queue: Queue,
    lose: Callable[..., Job],
    redis_server: fakeredis.FakeServer,
) -> None:
    free, paid = [lose() for _ in range(3)], lose(engine="paid")
    redis_server.connected = False

    caretaker.round()

    assert {storage.jobs.get(each.id).status for each in free} == {JobStatus.QUEUED}
    assert storage.jobs.get(paid.id).status is JobStatus.FAILED
    redis_server.connected = True
    caretaker.round()
    assert sorted(queue.ids) == sorted(each.id for each in free)


def test_leases_are_given_time_after_the_database_was_away(
    storage: Storage,
    caretaker: Caretaker,
    lose: Callable[..., Job],
    database: OutageDatabase,
) -> None:
    job = lose()
    caretaker.upkeep.lease_s = 30
    database.is_away = True
    caretaker.round()
    database.is_away = False

    caretaker.round()

    assert storage.jobs.get(job.id) == job


def test_leases_are_given_time_after_a_start(
    storage: Storage, hire: Callable[..., Caretaker], lose: Callable[..., Job]
) -> None:
    job = lose()

    hire(lease_s=30).round()

    assert storage.jobs.get(job.id) == job


def test_leases_that_were_given_time_are_recovered_in_the_end(
    storage: Storage,
    hire: Callable[..., Caretaker],
    lose: Callable[..., Job],
    database: OutageDatabase,
) -> None:
    job = lose()
    caretaker = hire(lease_s=0)
    database.is_away = True
    caretaker.round()
    database.is_away = False

    caretaker.round()

    assert storage.jobs.get(job.id).status is JobStatus.QUEUED


LEASE_S = 30.0

#: How much later than usual a round may be, in seconds.
TOLERATED_S = LEASE_S / 3


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trusting(hire: Callable[..., Caretaker], clock: Clock) -> Caretaker:
    """The upkeep of a worker that has been there for long enough to trust all leases."""
    caretaker = hire(clock=clock)
    caretaker.upkeep.lease_s = LEASE_S
    return caretaker


@pytest.mark.parametrize("has_turn", [True, False])
def test_leases_are_given_time_after_everybody_slept(
    storage: Storage,
    trusting: Caretaker,
    clock: Clock,
    lose: Callable[..., Job],
    broker: fakeredis.FakeRedis,
    has_turn: bool,
) -> None:
    job = lose()
    clock.now += ROUND_EVERY_S + TOLERATED_S + 1
    if not has_turn:
        broker.set(LOCK, "w3")

    trusting.upkeep.round()
    clock.now += ROUND_EVERY_S
    trusting.round()

    assert storage.jobs.get(job.id) == job


def test_a_round_that_is_a_little_late_trusts_leases(
    storage: Storage, trusting: Caretaker, clock: Clock, lose: Callable[..., Job]
) -> None:
    job = lose()
    clock.now += ROUND_EVERY_S + TOLERATED_S - 1

    trusting.round()

    assert storage.jobs.get(job.id).status is JobStatus.QUEUED


@pytest.mark.parametrize("heart_is_first", [True, False])
def test_leases_are_given_time_after_a_sleep_in_the_middle_of_a_round(
    storage: Storage,
    trusting: Caretaker,
    clock: Clock,
    lose: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
    heart_is_first: bool,
) -> None:
    def sleep(*_: object) -> None:
        clock.now += LEASE_S

    monkeypatch.setattr(Dispatcher, "top_up", sleep)
    trusting.round()
    monkeypatch.undo()
    if heart_is_first:
        trusting.upkeep.notice_sleep()
    job = lose()
    clock.now += ROUND_EVERY_S

    trusting.round()

    assert storage.jobs.get(job.id) == job


def test_leases_are_given_time_after_the_database_was_locked_for_long(
    storage: Storage,
    trusting: Caretaker,
    clock: Clock,
    lose: Callable[..., Job],
    database: OutageDatabase,
) -> None:
    job = lose()

    def wait_for_the_lock(connection: object) -> None:
        clock.now += TOLERATED_S + 1

    event.listen(database.engine, "begin", wait_for_the_lock)
    trusting.round()

    assert storage.jobs.get(job.id) == job


def test_leases_are_given_time_after_files_were_slow_to_delete(
    storage: Storage,
    trusting: Caretaker,
    clock: Clock,
    lose: Callable[..., Job],
    files: OutageFiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage.gallery.keep(lose(), [a_picture()])
    delete = files.delete

    def delete_slowly(key: str) -> None:
        clock.now += TOLERATED_S + 1
        delete(key)

    monkeypatch.setattr(files, "delete", delete_slowly)
    trusting.round()
    job = lose()
    clock.now += ROUND_EVERY_S

    trusting.round()

    assert storage.jobs.get(job.id) == job


def test_leases_are_given_time_when_the_database_goes_away_while_files_are_deleted(
    storage: Storage,
    trusting: Caretaker,
    lose: Callable[..., Job],
    files: OutageFiles,
    database: OutageDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage.gallery.keep(lose(), [a_picture()])

    def delete_as_the_database_dies(key: str) -> None:
        database.dies_next = key.startswith("images/")

    monkeypatch.setattr(files, "delete", delete_as_the_database_dies)
    trusting.round()
    database.is_away = False
    job = lose()

    trusting.round()

    assert storage.jobs.get(job.id) == job


def test_a_database_that_goes_away_is_no_file_that_cannot_be_deleted(
    storage: Storage, lose: Callable[..., Job], database: OutageDatabase
) -> None:
    job = lose()
    storage.gallery.keep(job, [a_picture()])
    storage.attempts.hand_back(job)
    database.dies_next = True

    with pytest.raises(Unavailable, match="database"):
        storage.gallery.release_abandoned()


@pytest.fixture
def wait_for(storage: Storage, submit: Submit) -> Callable[..., Job]:
    """A job that has waited for so long."""

    def make(engine: str, *, age_s: float) -> Job:
        job = submit(engine=engine)
        with storage.database.writing() as connection:
            connection.execute(
                text("UPDATE jobs SET created_at = created_at - :age_s WHERE id = :id"),
                {"age_s": age_s, "id": job.id},
            )
        return storage.jobs.get(job.id)

    return make


def test_a_job_that_nobody_has_a_driver_for_fails_in_the_end(
    storage: Storage, caretaker: Caretaker, wait_for: Callable[..., Job]
) -> None:
    old = wait_for("uninstalled", age_s=PATIENT.patience_s + 60)
    fresh = wait_for("uninstalled", age_s=PATIENT.patience_s - 60)

    caretaker.round()
    caretaker.round()

    failed = storage.jobs.get(old.id)
    assert failed.error is not None
    assert (failed.status, failed.error.code) == (JobStatus.FAILED, "engine_misconfigured")
    assert "driver for engine 'uninstalled': install it again" in failed.error.detail
    assert caretaker.announced == [failed]
    assert storage.jobs.get(fresh.id) == fresh


def test_a_job_that_another_worker_has_a_driver_for_waits(
    storage: Storage, caretaker: Caretaker, wait_for: Callable[..., Job]
) -> None:
    old = wait_for("theirs", age_s=PATIENT.patience_s + 60)
    storage.attempts.claim(wait_for("theirs", age_s=0).id, worker="w3", lease_s=30)

    caretaker.round()

    assert storage.jobs.get(old.id) == old


def test_a_job_that_there_is_a_driver_for_waits_for_any_time(
    storage: Storage, caretaker: Caretaker, wait_for: Callable[..., Job]
) -> None:
    old = wait_for("paid", age_s=PATIENT.patience_s + 60)

    caretaker.round()

    assert storage.jobs.get(old.id).status is JobStatus.QUEUED


def test_a_round_is_spared_while_another_worker_does_one(
    storage: Storage, caretaker: Caretaker, lose: Callable[..., Job], broker: fakeredis.FakeRedis
) -> None:
    job = lose()
    broker.set(LOCK, "w3")

    caretaker.upkeep.round()

    assert storage.jobs.get(job.id) == job


def test_leases_are_recovered_while_the_file_store_is_away(
    storage: Storage, caretaker: Caretaker, lose: Callable[..., Job], files: OutageFiles
) -> None:
    jobs = [lose(), lose()]
    files.is_away = True

    caretaker.round()

    assert {storage.jobs.get(each.id).status for each in jobs} == {JobStatus.QUEUED}
    assert sorted(caretaker.changed) == sorted(each.id for each in jobs)


def test_items_of_batches_become_jobs_and_are_sent(
    storage: Storage, caretaker: Caretaker, queue: Queue
) -> None:
    owner_id = storage.users.create(email="bo@example.org", name="Bo").id
    long, short = accepted(storage, owner_id, *items(5000)), accepted(storage, owner_id, *items(3))

    caretaker.round()

    assert queue.ids
    assert storage.batches.get(short.id).planted == 3
    assert 0 < storage.batches.get(long.id).planted < 5000
    for _ in range(5):
        caretaker.round()
    assert storage.batches.get(long.id).planted == 5000


def test_every_batch_has_its_turn(storage: Storage, caretaker: Caretaker) -> None:
    owner_id = storage.users.create(email="bo@example.org", name="Bo").id
    batches = [accepted(storage, owner_id, *items(600)) for _ in range(10)]

    caretaker.round()
    caretaker.round()

    assert all(storage.batches.get(each.id).planted for each in batches)


def test_a_cancel_that_its_process_did_not_finish_is_finished(
    storage: Storage, caretaker: Caretaker, queue: Queue
) -> None:
    owner_id = storage.users.create(email="bo@example.org", name="Bo").id
    batch = accepted(storage, owner_id, *items(2))
    storage.batches.plant(batch.id)
    storage.batches.request_cancel(batch.id)
    [first, _] = storage.jobs.list(batch_id=batch.id)
    back_in_queue(storage, first)

    caretaker.round()

    assert queue.ids == []
    assert storage.jobs.get(first.id).status is JobStatus.CANCELED
