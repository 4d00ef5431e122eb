"""Upkeep: nothing that a worker, the broker or the database dropped stays dropped."""

from collections.abc import Callable
from dataclasses import dataclass, field

import fakeredis
import pytest

from darkroom.domain import Job, JobStatus
from darkroom.errors import Unavailable
from storage import Storage
from tests.worker.doubles import OutageDatabase, a_picture
from worker import upkeep
from worker.upkeep import LOCK, Upkeep

Submit = Callable[..., Job]


@dataclass
class Queue:
    """Takes ids, unless the broker is away."""

    server: fakeredis.FakeServer
    sent: list[str] = field(default_factory=list)

    def send(self, job: Job) -> None:
        if not self.server.connected:
            raise Unavailable("The broker is away.")
        self.sent.append(job.id)


@dataclass
class Caretaker:
    """One worker's upkeep, with all that it did."""

    upkeep: Upkeep
    broker: fakeredis.FakeRedis
    announced: list[Job]

    def round(self) -> None:
        """One round that no other worker is in the way of."""
        if self.broker.connection_pool.connection_kwargs["server"].connected:
            self.broker.delete(LOCK)
        self.upkeep.round()


@pytest.fixture
def queue(redis_server: fakeredis.FakeServer) -> Queue:
    return Queue(redis_server)


@pytest.fixture
def hire(storage: Storage, broker: fakeredis.FakeRedis, queue: Queue) -> Callable[..., Caretaker]:
    def make(*, lease_s: float = 30, max_attempts: int = 3) -> Caretaker:
        announced: list[Job] = []
        return Caretaker(
            Upkeep(
                storage=storage,
                broker=broker,
                send=queue.send,
                announce=lambda job_id: announced.append(storage.jobs.get(job_id)),
                is_paid=lambda engine: engine == "paid",
                worker="w2",
                lease_s=lease_s,
                max_attempts=max_attempts,
            ),
            broker,
            announced,
        )

    return make


@pytest.fixture
def caretaker(hire: Callable[..., Caretaker]) -> Caretaker:
    return hire()


@pytest.fixture
def _old_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every queued job is older than its caller would need to send it."""
    monkeypatch.setattr(upkeep, "SEND_AFTER_S", -1.0)


@pytest.fixture
def lose(storage: Storage, submit: Submit) -> Callable[..., Job]:
    """A job that was sent, and whose worker died under it."""

    def make(*, attempts: int = 1, **rest: object) -> Job:
        job = submit(**rest)
        storage.jobs.mark_sent([job.id])
        for _ in range(attempts - 1):
            _claim(storage, job)
            storage.jobs.hand_back(storage.jobs.get(job.id))
        return _claim(storage, job)

    return make


def _claim(storage: Storage, job: Job) -> Job:
    held = storage.jobs.claim(job.id, worker="dead", lease_s=-1)
    assert held is not None
    return held


def test_a_job_of_a_dead_worker_is_sent_again(
    storage: Storage, caretaker: Caretaker, queue: Queue, lose: Callable[..., Job]
) -> None:
    job = lose()

    caretaker.round()

    assert storage.jobs.get(job.id).status is JobStatus.QUEUED
    assert queue.sent == [job.id]
    assert caretaker.announced == []


def test_a_job_is_sent_again_once(
    caretaker: Caretaker, queue: Queue, lose: Callable[..., Job]
) -> None:
    job = lose()

    caretaker.round()
    caretaker.round()

    assert queue.sent == [job.id]


def test_a_paid_job_of_a_dead_worker_is_never_repeated(
    storage: Storage, caretaker: Caretaker, queue: Queue, lose: Callable[..., Job]
) -> None:
    job = lose(engine="paid")

    caretaker.round()
    caretaker.round()

    failed = storage.jobs.get(job.id)
    assert failed.error is not None
    assert (failed.status, failed.error.code) == (JobStatus.FAILED, "outcome_unknown")
    assert queue.sent == []
    assert caretaker.announced == [failed]


def test_a_job_is_tried_again_only_so_often(
    storage: Storage, hire: Callable[..., Caretaker], queue: Queue, lose: Callable[..., Job]
) -> None:
    once, twice = lose(attempts=1), lose(attempts=2)
    caretaker = hire(max_attempts=2)

    caretaker.round()

    assert queue.sent == [once.id]
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
    assert queue.sent == []
    assert caretaker.announced == [canceled]


def test_a_job_of_a_living_worker_is_left_alone(
    storage: Storage, caretaker: Caretaker, submit: Submit
) -> None:
    job = submit()
    held = storage.jobs.claim(job.id, worker="w1", lease_s=30)

    caretaker.round()

    assert storage.jobs.get(job.id) == held


def test_files_of_a_dead_worker_are_removed(
    storage: Storage, caretaker: Caretaker, lose: Callable[..., Job]
) -> None:
    job = lose()
    storage.gallery.keep(job, [a_picture()])

    caretaker.round()

    assert storage.files.keys() == []


@pytest.mark.usefixtures("_old_at_once")
def test_a_job_that_was_never_sent_is_sent(
    caretaker: Caretaker, queue: Queue, submit: Submit
) -> None:
    job = submit()

    caretaker.round()
    caretaker.round()

    assert queue.sent == [job.id]


def test_a_new_job_is_left_to_its_caller(
    caretaker: Caretaker, queue: Queue, submit: Submit
) -> None:
    submit()

    caretaker.round()

    assert queue.sent == []


@pytest.mark.usefixtures("_old_at_once")
def test_queued_jobs_are_sent_again_to_a_redis_that_lost_its_data(
    storage: Storage,
    caretaker: Caretaker,
    queue: Queue,
    submit: Submit,
    broker: fakeredis.FakeRedis,
) -> None:
    waiting, busy = submit(), submit()
    storage.jobs.claim(busy.id, worker="w1", lease_s=30)
    caretaker.round()
    queue.sent.clear()

    broker.flushall()
    caretaker.round()
    caretaker.round()

    assert queue.sent == [waiting.id]


@pytest.mark.usefixtures("_old_at_once")
def test_the_loss_is_not_forgotten_when_the_database_is_away_too(
    storage: Storage,
    caretaker: Caretaker,
    queue: Queue,
    submit: Submit,
    broker: fakeredis.FakeRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = submit()
    caretaker.round()
    queue.sent.clear()
    broker.flushall()

    with monkeypatch.context() as outage:
        outage.setattr(storage.jobs, "forget_sent", _away)
        caretaker.round()
    caretaker.round()

    assert queue.sent == [job.id]


def _away() -> None:
    raise Unavailable("The database is away.")


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
    assert sorted(queue.sent) == sorted(each.id for each in free)


def test_jobs_are_sent_later_when_the_queue_takes_none(
    storage: Storage, caretaker: Caretaker, queue: Queue, lose: Callable[..., Job]
) -> None:
    jobs = [lose() for _ in range(3)]
    taken: list[str] = []

    def send(job: Job) -> None:
        if taken:
            raise Unavailable("Not more than one.")
        taken.append(job.id)

    caretaker.upkeep.send = send
    caretaker.round()
    caretaker.upkeep.send = queue.send
    caretaker.round()

    assert sorted([*taken, *queue.sent]) == sorted(each.id for each in jobs)


def test_leases_are_given_time_after_the_database_was_away(
    storage: Storage,
    caretaker: Caretaker,
    lose: Callable[..., Job],
    database: OutageDatabase,
) -> None:
    job = lose()
    database.is_away = True
    caretaker.round()
    database.is_away = False

    caretaker.round()

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


def test_a_round_is_spared_while_another_worker_does_one(
    storage: Storage, caretaker: Caretaker, lose: Callable[..., Job], broker: fakeredis.FakeRedis
) -> None:
    job = lose()
    broker.set(LOCK, "w3")

    caretaker.upkeep.round()

    assert storage.jobs.get(job.id) == job
