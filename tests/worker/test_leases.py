"""Leases: one beat keeps all jobs of a process, and tells each that must stop."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import event

from darkroom.domain import Job
from darkroom.errors import Canceled, LeaseLost
from storage import Storage
from tests.worker.doubles import OutageDatabase
from worker.leases import Lease, Leases

Submit = Callable[..., Job]


@pytest.fixture
def leases(storage: Storage) -> Leases:
    return Leases(storage.attempts, worker="w1", lease_s=500)


def claimed(storage: Storage, job: Job, *, worker: str = "w1") -> Job:
    held = storage.attempts.claim(job.id, worker=worker, lease_s=30)
    assert held is not None
    return held


def lease_of(storage: Storage, job: Job) -> float:
    return storage.jobs.get(job.id).lease_until or 0


@contextmanager
def updates(database: OutageDatabase) -> Iterator[list[str]]:
    """The UPDATE statements that are sent while the block runs."""
    seen: list[str] = []

    def note(*arguments: object) -> None:
        if str(arguments[2]).startswith("UPDATE"):
            seen.append(str(arguments[2]))

    event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)


def test_a_beat_renews_all_leases_with_one_update(
    storage: Storage, submit: Submit, leases: Leases, database: OutageDatabase
) -> None:
    jobs = [claimed(storage, submit()) for _ in range(20)]

    with ExitStack() as held, updates(database) as sent:
        checks = [held.enter_context(leases.holding(each)) for each in jobs]
        leases.beat()

    assert len(sent) == 1
    for job, lease in zip(jobs, checks, strict=True):
        lease.check()
        assert lease_of(storage, job) > (job.lease_until or 0) + 400


def test_a_lease_is_not_renewed_after_its_work(
    storage: Storage, submit: Submit, leases: Leases
) -> None:
    job = claimed(storage, submit())
    with leases.holding(job):
        pass

    leases.beat()

    assert lease_of(storage, job) == job.lease_until


def test_a_beat_tells_who_lost_its_job(storage: Storage, submit: Submit, leases: Leases) -> None:
    lost, fine = (claimed(storage, submit()) for _ in range(2))
    storage.attempts.hand_back(lost)

    with leases.holding(lost) as of_lost, leases.holding(fine) as of_fine:
        leases.beat()

    assert (_verdict(of_lost), _verdict(of_fine)) == (LeaseLost, None)


def test_those_who_are_canceled_are_told(storage: Storage, submit: Submit, leases: Leases) -> None:
    canceled, fine = (claimed(storage, submit()) for _ in range(2))
    storage.jobs.request_cancel(canceled.id)

    with leases.holding(canceled) as of_canceled, leases.holding(fine) as of_fine:
        leases.look_for_cancels()

    assert (_verdict(of_canceled), _verdict(of_fine)) == (Canceled, None)


def test_cancels_are_heard_once_the_database_is_back(
    storage: Storage, submit: Submit, leases: Leases, database: OutageDatabase
) -> None:
    job = claimed(storage, submit())
    storage.jobs.request_cancel(job.id)

    with leases.holding(job) as lease:
        database.is_away = True
        leases.look_for_cancels()
        verdicts = [_verdict(lease)]
        database.is_away = False
        leases.look_for_cancels()
        verdicts.append(_verdict(lease))

    assert verdicts == [None, Canceled]


def test_a_canceled_job_keeps_its_lease_while_it_cleans_up(
    storage: Storage, submit: Submit, leases: Leases
) -> None:
    job = claimed(storage, submit())
    storage.jobs.request_cancel(job.id)

    with leases.holding(job):
        leases.beat()

    assert lease_of(storage, job) > (job.lease_until or 0) + 400


def test_a_beat_without_jobs_needs_no_database(leases: Leases, database: OutageDatabase) -> None:
    with updates(database) as sent:
        leases.beat()

    assert sent == []


def test_work_goes_on_while_the_database_is_away(
    storage: Storage, submit: Submit, leases: Leases, database: OutageDatabase
) -> None:
    job = claimed(storage, submit())

    with leases.holding(job) as lease:
        database.is_away = True
        leases.beat()

    lease.check()


def test_a_later_attempt_in_the_same_process_is_kept(
    storage: Storage, submit: Submit, leases: Leases
) -> None:
    first = claimed(storage, submit())
    storage.attempts.hand_back(first)
    second = claimed(storage, first)

    with ExitStack() as later:
        with leases.holding(first):
            lease = later.enter_context(leases.holding(second))
        leases.beat()

        lease.check()
    assert lease_of(storage, second) > (second.lease_until or 0) + 400


def _verdict(lease: Lease) -> type[Exception] | None:
    try:
        lease.check()
    except (Canceled, LeaseLost) as verdict:
        return type(verdict)
    return None
