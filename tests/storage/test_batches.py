"""Batches are accepted whole, become jobs bit by bit, and stand where their jobs do."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from darkroom.domain import (
    OUTCOME_UNKNOWN,
    BatchCosts,
    BatchCounts,
    BatchStatus,
    ImageRequest,
    JobStatus,
    Lane,
    NewBatch,
    Operation,
)
from darkroom.errors import Conflict, IdempotencyConflict, NotFound
from storage import Storage
from storage.batches import new_batch_id
from storage.chunks import ITEMS_PER_CHUNK, Draft
from tests.storage.builders import (
    AN_ERROR,
    accepted,
    an_item,
    back_in_queue,
    claimed,
    planted,
    queued,
    sent,
    shown,
    together,
    with_times,
)


def test_an_accepted_batch_is_there_whole_before_any_job_is(
    storage: Storage, owner_id: str
) -> None:
    batch = accepted(storage, owner_id, *(an_item(number) for number in range(1, 601)))

    assert storage.batches.get(batch.id) == batch
    assert storage.batches.counts(batch) == BatchCounts(queued=600)
    assert storage.jobs.list() == []


def test_a_batch_costs_what_its_items_do_also_those_that_are_no_jobs_yet(
    storage: Storage, owner_id: str
) -> None:
    items = [an_item(number, estimated_cost=10) for number in range(1, ITEMS_PER_CHUNK + 3)]
    batch = accepted(storage, owner_id, *items)
    seen = [storage.batches.costs(batch)]
    storage.batches.plant(batch.id)
    seen.append(storage.batches.costs(batch))
    drawn, broken, unseen = (
        claimed(storage, storage.jobs.get(each)) for each in sent(storage, window=3)
    )

    storage.attempts.succeed(drawn, [], warnings=(), cost=7)
    storage.attempts.fail(broken, AN_ERROR)
    seen.append(storage.batches.costs(batch))
    storage.attempts.fail(unseen, replace(AN_ERROR, code=OUTCOME_UNKNOWN))
    seen.append(storage.batches.costs(batch))

    total = 10 * len(items)
    assert seen == [
        BatchCosts(estimated=total, actual=0),
        BatchCosts(estimated=total, actual=0),
        BatchCosts(estimated=total, actual=7),
        BatchCosts(estimated=total, actual=None),
    ]
    of_jobs = [storage.jobs.get(each.id).actual_cost for each in (drawn, broken, unseen)]
    assert of_jobs == [7, 0, None]


@pytest.mark.parametrize("unknown", [1, ITEMS_PER_CHUNK + 1])
def test_one_item_of_unknown_cost_makes_the_cost_of_its_batch_unknown(
    storage: Storage, owner_id: str, unknown: int
) -> None:
    costs = {number: 10 for number in range(1, ITEMS_PER_CHUNK + 3) if number != unknown}
    numbers = range(1, ITEMS_PER_CHUNK + 3)
    items = (an_item(number, estimated_cost=costs.get(number)) for number in numbers)
    batch = accepted(storage, owner_id, *items)

    storage.batches.plant(batch.id)

    assert storage.batches.costs(batch).estimated is None


def test_items_become_jobs_in_the_order_of_the_batch(storage: Storage, owner_id: str) -> None:
    batch, jobs = planted(storage, owner_id, ITEMS_PER_CHUNK + 2)

    assert [each.request.prompt for each in jobs] == [
        f"prompt {number}" for number in range(1, ITEMS_PER_CHUNK + 3)
    ]
    places = [each.place for each in jobs]
    assert [each.position for each in places if each] == list(range(ITEMS_PER_CHUNK + 2))
    assert places[-1] is not None
    assert (places[-1].line, places[-1].custom_id) == (len(jobs), f"line-{len(jobs)}")
    assert {each.lane for each in jobs} == {Lane.BATCH}
    assert storage.batches.get(batch.id).planted == len(jobs)


def test_the_backlog_takes_jobs_of_a_batch_in_its_order(storage: Storage, owner_id: str) -> None:
    _, jobs = planted(storage, owner_id, 20)

    assert sent(storage, window=5) == [each.id for each in jobs[:5]]


def test_long_items_make_small_chunks(storage: Storage, owner_id: str) -> None:
    long = ImageRequest(prompt="long " * 60_000)
    batch = accepted(storage, owner_id, *(an_item(each, request=long) for each in range(1, 11)))

    storage.batches.plant(batch.id)

    assert storage.batches.get(batch.id).planted == 4


def test_planting_tells_which_engines_have_more_to_do(storage: Storage, owner_id: str) -> None:
    batch = accepted(storage, owner_id, an_item(1), an_item(2, engine="comfyui"))

    assert storage.batches.plant(batch.id) == {"builtin", "comfyui"}
    assert storage.batches.plant(batch.id) == frozenset()


def test_several_who_plant_at_once_make_each_job_once(storage: Storage, owner_id: str) -> None:
    batch = accepted(storage, owner_id, *(an_item(number) for number in range(1, 1001)))

    together(*[partial(storage.batches.plant, batch.id)] * 8)

    jobs = storage.jobs.list(batch_id=batch.id, limit=2000)
    assert len({each.place.position for each in jobs if each.place}) == len(jobs) == 1000


def test_only_batches_with_items_left_are_to_be_planted(storage: Storage, owner_id: str) -> None:
    planted(storage, owner_id, 2)
    first = accepted(storage, owner_id, an_item())
    second = accepted(storage, owner_id, an_item())
    canceled = accepted(storage, owner_id, an_item())
    storage.batches.request_cancel(canceled.id)

    assert storage.batches.unplanted() == [first.id, second.id]


def test_the_same_batch_with_the_same_key_is_accepted_once(storage: Storage, owner_id: str) -> None:
    submit = partial(accepted, storage, owner_id, an_item(), idempotency_key="k", request_hash="h")

    first, second = submit(), submit()

    assert first == second
    assert len(storage.batches.list()) == 1
    with pytest.raises(IdempotencyConflict):
        accepted(storage, owner_id, idempotency_key="k", request_hash="other")


def test_a_batch_that_cannot_be_accepted_leaves_nothing(storage: Storage, owner_id: str) -> None:
    class Broken(Draft):
        def chunks(self):  # type: ignore[no-untyped-def]
            yield from super().chunks()
            raise OSError("the disk is full")

    with Broken() as draft:
        draft.add(an_item())
        with pytest.raises(OSError, match="full"):
            storage.batches.submit(NewBatch(owner_id=owner_id), draft, batch_id=new_batch_id())

    assert storage.batches.list() == []


def test_batches_are_listed_newest_first_and_by_owner(storage: Storage, owner_id: str) -> None:
    other = storage.users.create(email="bert@example.org", name="Bert").id
    mine = [accepted(storage, owner_id, an_item()) for _ in range(3)]
    theirs = accepted(storage, other, an_item())

    assert storage.batches.list(owner_id=owner_id) == mine[::-1]
    assert storage.batches.list(owner_id=owner_id, after=mine[1].id) == [mine[0]]
    assert storage.batches.list(limit=1) == [theirs]
    with pytest.raises(NotFound):
        storage.batches.get(theirs.id, owner_id=owner_id)


def test_a_batch_stands_where_its_jobs_do(storage: Storage, owner_id: str) -> None:
    batch, jobs = planted(storage, owner_id, 5)
    counts = [storage.batches.counts(batch)]

    shown(storage, claimed(storage, jobs[0]))
    storage.attempts.fail(claimed(storage, jobs[1]), AN_ERROR)
    claimed(storage, jobs[2])
    counts.append(storage.batches.counts(batch))

    assert counts == [
        BatchCounts(queued=5),
        BatchCounts(queued=2, running=1, succeeded=1, failed=1),
    ]
    assert [each.status(was_canceled=False) for each in counts] == [
        BatchStatus.QUEUED,
        BatchStatus.RUNNING,
    ]
    assert storage.batches.last_finish(batch) == storage.jobs.get(jobs[1].id).finished_at
    assert storage.batches.pace(batch)


def test_canceling_stops_what_is_queued_running_and_no_job_yet(
    storage: Storage, owner_id: str
) -> None:
    batch, jobs = planted(storage, owner_id, ITEMS_PER_CHUNK)
    batch = accepted(storage, owner_id, *(an_item(number) for number in range(1, 601)))
    storage.batches.plant(batch.id)
    job = claimed(storage, storage.jobs.list(batch_id=batch.id, limit=500)[0])

    asked = storage.batches.request_cancel(batch.id)
    canceled = storage.batches.get(batch.id)
    counts = storage.batches.counts(canceled)

    assert asked == [job.id]
    assert counts == BatchCounts(running=1, canceled=599)
    assert counts.status(was_canceled=True) is BatchStatus.CANCELING
    assert storage.jobs.get(job.id).status is JobStatus.CANCELING
    assert storage.batches.plant(batch.id) == frozenset()
    assert storage.attempts.cancel_held(job)
    assert storage.batches.counts(canceled) == BatchCounts(canceled=600)
    assert {storage.jobs.get(each.id).status for each in jobs} == {JobStatus.QUEUED}


def test_items_that_never_became_jobs_are_told_of(storage: Storage, owner_id: str) -> None:
    batch = accepted(storage, owner_id, *(an_item(number) for number in range(1, 601)))
    storage.batches.plant(batch.id)
    storage.batches.request_cancel(batch.id)

    left = [each.line for each in storage.batches.never_planted(batch)]

    assert left == list(range(ITEMS_PER_CHUNK + 1, 601))


def test_a_finished_batch_cannot_be_canceled(storage: Storage, owner_id: str) -> None:
    batch, [job] = planted(storage, owner_id, 1)
    shown(storage, claimed(storage, job))

    assert storage.batches.request_cancel(batch.id) == []
    assert storage.batches.get(batch.id).cancel_requested_at is None


def test_results_come_as_jobs_end_and_each_once(storage: Storage, owner_id: str) -> None:
    batch, jobs = planted(storage, owner_id, 4)
    results = storage.batches.results(batch)
    assert results.more() == []

    shown(storage, claimed(storage, jobs[2]))
    storage.attempts.fail(claimed(storage, jobs[0]), AN_ERROR)
    first = [each.id for each in results.more()]
    results.done()
    shown(storage, claimed(storage, jobs[1]))
    second = [each.id for each in results.more()]
    results.done()

    assert first == [jobs[2].id, jobs[0].id]
    assert second == [jobs[1].id]
    assert results.more() == []


def test_a_result_that_was_committed_late_is_not_missed(storage: Storage, owner_id: str) -> None:
    batch, jobs = planted(storage, owner_id, 2)
    results = storage.batches.results(batch)
    shown(storage, claimed(storage, jobs[0]))
    [newest] = results.more()
    results.done()
    assert newest.finished_at is not None
    results.more()

    shown(storage, claimed(storage, jobs[1]))
    with_times(storage, jobs[1], finished_at=newest.finished_at - 5)

    assert [each.id for each in results.more()] == [jobs[1].id]


def test_more_results_than_fit_into_one_look(storage: Storage, owner_id: str) -> None:
    batch, jobs = planted(storage, owner_id, 1100)
    storage.batches.request_cancel(batch.id)
    results = storage.batches.results(batch)

    found: list[str] = []
    while some := results.more():
        found += [each.id for each in some]
        results.done()

    assert sorted(found) == sorted(each.id for each in jobs)


def test_unsuccessful_jobs_are_found_in_the_order_of_the_batch(
    storage: Storage, owner_id: str
) -> None:
    batch, jobs = planted(storage, owner_id, 4)
    for job in (jobs[3], jobs[1]):
        storage.attempts.fail(claimed(storage, job), AN_ERROR)
    shown(storage, claimed(storage, jobs[0]))
    storage.jobs.request_cancel(jobs[2].id)

    found = [each.id for each in storage.batches.unsuccessful(batch)]

    assert found == [jobs[1].id, jobs[2].id, jobs[3].id]


@pytest.mark.parametrize("is_planted", [True, False])
def test_items_of_batches_have_a_limit_of_their_own(
    storage: Storage, owner_id: str, is_planted: bool
) -> None:
    batch = accepted(storage, owner_id, an_item(1), an_item(2))
    if is_planted:
        storage.batches.plant(batch.id)
    queued(storage, owner_id)

    assert storage.batches.has_room_for(owner_id, most=3, more=1)
    assert not storage.batches.has_room_for(owner_id, most=3, more=2)
    assert storage.backlog.has_room_for(owner_id, most=2)
    assert not storage.backlog.has_room_for(owner_id, most=1)


def test_results_come_again_until_they_are_passed_on(storage: Storage, owner_id: str) -> None:
    batch, [job] = planted(storage, owner_id, 1)
    shown(storage, claimed(storage, job))
    results = storage.batches.results(batch)

    lost, again = results.more(), results.more()
    results.done()

    assert [each.id for each in lost] == [each.id for each in again] == [job.id]
    assert results.more() == []
    results.from_the_start()
    assert results.more() == []


def test_a_result_that_was_committed_far_too_late_is_found_at_the_end(
    storage: Storage, owner_id: str
) -> None:
    batch, jobs = planted(storage, owner_id, 2)
    results = storage.batches.results(batch)
    shown(storage, claimed(storage, jobs[0]))
    [newest] = results.more()
    results.done()
    shown(storage, claimed(storage, jobs[1]))
    with_times(storage, jobs[1], finished_at=(newest.finished_at or 0) - 3600)
    assert results.more() == []

    results.from_the_start()

    assert [each.id for each in results.more()] == [jobs[1].id]


def test_a_batch_whose_pictures_are_gone_is_not_accepted(storage: Storage, owner_id: str) -> None:
    edit = ImageRequest(prompt="x", operation=Operation.EDIT, images=("0" * 64,))

    with pytest.raises(Conflict):
        accepted(storage, owner_id, an_item(1, request=edit))

    assert storage.batches.list() == []


def test_a_cancel_that_was_left_half_way_is_finished(storage: Storage, owner_id: str) -> None:
    batch, jobs = planted(storage, owner_id, 3)
    held = claimed(storage, jobs[0])
    storage.batches.request_cancel(batch.id)
    # What was not reached before the process died.
    back_in_queue(storage, jobs[1])
    storage.attempts.cancel_held(held)

    assert storage.batches.finish_canceling() == []

    assert storage.batches.counts(storage.batches.get(batch.id)) == BatchCounts(canceled=3)


def test_a_cancel_while_the_last_items_become_jobs_is_remembered(
    storage: Storage, owner_id: str
) -> None:
    for _ in range(15):
        batch = accepted(storage, owner_id, *(an_item(number) for number in range(1, 4)))

        works: list[Callable[[], object]] = [
            partial(storage.batches.plant, batch.id),
            partial(storage.batches.request_cancel, batch.id),
        ]
        together(*works)

        now = storage.batches.get(batch.id)
        assert now.cancel_requested_at is not None
        assert storage.batches.counts(now) == BatchCounts(canceled=3)


def test_what_has_a_key_of_its_own_is_not_alike(storage: Storage, owner_id: str) -> None:
    plain = accepted(storage, owner_id, an_item(), request_hash="h")
    accepted(storage, owner_id, an_item(), request_hash="h", idempotency_key="k")
    accepted(storage, owner_id, an_item(), request_hash="other")

    assert storage.batches.alike(owner_id, "h", within_s=60) == [plain]
    assert storage.batches.alike(owner_id, "h", within_s=-1) == []
