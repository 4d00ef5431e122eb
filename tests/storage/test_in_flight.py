"""Limits on what runs at once hold, however many workers count at the same moment."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from darkroom.domain import JobStatus, Lane, Operation
from darkroom.pools import Place, Pool
from storage import Storage
from tests.storage.builders import queued, running, sent, shown, status_of


def limited(limit: int | None, engine: str = "builtin") -> Pool:
    return Pool(engine=engine, places=(Place(limit=limit),))


def one_at_once(engine: str, operation: Operation) -> Pool:
    return limited(1 if engine == "builtin" else None, engine)


def at_once(work: Callable[[int], object], count: int = 8) -> None:
    """Do `work` in so many threads, started together."""
    barrier = Barrier(count)

    def start(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(count) as pool:
        for each in [pool.submit(start, number) for number in range(count)]:
            each.result()


def test_an_engine_is_sent_no_more_than_it_takes(storage: Storage, owner_id: str) -> None:
    running(storage, owner_id)
    for lane in Lane:
        for _ in range(3):
            queued(storage, owner_id, lane=lane)

    assert len(sent(storage, pool=limited(3))) == 2
    assert sent(storage, pool=limited(3)) == []


def test_an_engine_with_one_slot_gets_the_next_job_when_the_first_is_done(
    storage: Storage, owner_id: str
) -> None:
    first = running(storage, owner_id)
    second = queued(storage, owner_id)
    assert sent(storage, pool=limited(1)) == []

    shown(storage, first)

    assert sent(storage, pool=limited(1)) == [second.id]


def test_a_job_is_not_claimed_while_its_engine_is_full(storage: Storage, owner_id: str) -> None:
    first, second = queued(storage, owner_id), queued(storage, owner_id)
    held = storage.attempts.claim(first.id, worker="w1", lease_s=30, pool_of=one_at_once)
    assert held is not None

    assert storage.attempts.claim(second.id, worker="w2", lease_s=30, pool_of=one_at_once) is None
    assert status_of(storage, second) is JobStatus.QUEUED

    shown(storage, held)
    assert (
        storage.attempts.claim(second.id, worker="w2", lease_s=30, pool_of=one_at_once) is not None
    )


def test_one_engines_limit_is_not_anothers(storage: Storage, owner_id: str) -> None:
    running(storage, owner_id, engine="builtin")
    other = queued(storage, owner_id, engine="openai")

    assert (
        storage.attempts.claim(other.id, worker="w1", lease_s=30, pool_of=one_at_once) is not None
    )


@pytest.mark.parametrize("limit", [{"pool": limited(3)}, {"running_limit": 3}])
def test_takers_at_the_same_moment_pass_no_limit(
    storage: Storage, owner_id: str, limit: dict[str, Any]
) -> None:
    for _ in range(20):
        queued(storage, owner_id)
    taken: list[str] = []

    at_once(lambda _: taken.extend(sent(storage, **limit)))

    assert len(taken) == len(set(taken)) == 3


def test_claims_at_the_same_moment_pass_no_limit(storage: Storage, owner_id: str) -> None:
    jobs = [queued(storage, owner_id) for _ in range(8)]
    claimed: list[str] = []

    def claim(number: int) -> None:
        job = storage.attempts.claim(
            jobs[number].id, worker=f"w{number}", lease_s=30, pool_of=one_at_once
        )
        claimed.extend([job.id] if job else [])

    at_once(claim)

    assert len(claimed) == 1


def test_a_batch_gets_a_turn_however_busy_the_other_lane_is(
    storage: Storage, owner_id: str
) -> None:
    batch = queued(storage, owner_id, lane=Lane.BATCH)

    for _ in range(300):
        queued(storage, owner_id, lane=Lane.INTERACTIVE)
        [next_id] = sent(storage, pool=limited(1))
        if next_id == batch.id:
            return
        held = storage.attempts.claim(next_id, worker="w1", lease_s=30, pool_of=one_at_once)
        assert held is not None
        assert storage.attempts.cancel_held(storage.jobs.request_cancel(held.id))

    pytest.fail("it never got one")
