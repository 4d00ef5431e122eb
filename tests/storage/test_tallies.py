"""What a user's jobs count for, whichever way they end, and that no share is taken twice."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from darkroom.domain import ImageRequest, Job, JobError, Usage
from darkroom.errors import BudgetExceeded, QuotaExceeded
from darkroom.quotas import Quotas
from storage import Storage
from storage.tallies import Reservation
from storage.usage import Grouping
from tests.storage.builders import (
    AN_ERROR,
    a_job,
    a_picture,
    accepted,
    an_item,
    claimed,
    queued,
    running,
    together,
    with_times,
)

THREE = ImageRequest(prompt="a lighthouse", count=3)
UNKNOWN = JobError(code="outcome_unknown", detail="The answer was lost.")


def counted(storage: Storage, owner_id: str) -> tuple[int, int]:
    """Images and money of today, which the report must agree with."""
    spent = storage.tallies.spent(owner_id)
    assert (spent.images_month, spent.cost_month) >= (spent.images_day, spent.cost_day)
    return spent.images_day, spent.cost_day


def reported(storage: Storage, owner_id: str) -> tuple[int, int]:
    today = datetime.now(UTC).date()
    [line] = storage.usage.report(today, today, group_by=[], owner_id=owner_id)
    return line.images, line.cost


def succeed(storage: Storage, job: Job) -> None:
    kept = storage.gallery.keep(job, [a_picture()])
    assert storage.attempts.succeed(job, kept, warnings=[], cost=40)


def reroute(storage: Storage, job: Job) -> None:
    assert storage.attempts.reroute(
        job,
        AN_ERROR,
        engine="other",
        model="m",
        request=job.request,
        warning="…",
        estimated_cost=900,
    )


def cancel_running(storage: Storage, job: Job) -> None:
    storage.jobs.request_cancel(job.id)
    assert storage.attempts.cancel_held(job)


ENDS: dict[str, tuple[Callable[[Storage, Job], object], tuple[int, int]]] = {
    "runs": (lambda storage, job: None, (3, 300)),
    "succeeded with one picture": (succeed, (1, 40)),
    "failed": (lambda storage, job: storage.attempts.fail(job, AN_ERROR), (0, 0)),
    "may have been drawn": (lambda storage, job: storage.attempts.fail(job, UNKNOWN), (3, 300)),
    "canceled while it ran": (cancel_running, (0, 300)),
    "handed back": (lambda storage, job: storage.attempts.hand_back(job), (3, 300)),
    "handed back and canceled": (
        lambda storage, job: (
            storage.attempts.hand_back(job),
            storage.jobs.request_cancel(job.id),
        ),
        (0, 0),
    ),
    "goes to another model": (reroute, (3, 900)),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_job_counts_for_what_it_came_to(storage: Storage, owner_id: str, end: str) -> None:
    job = running(storage, owner_id, request=THREE, estimated_cost=300)
    bring_about, expected = ENDS[end]

    bring_about(storage, job)

    assert counted(storage, owner_id) == reported(storage, owner_id) == expected


def test_a_waiting_job_counts_until_it_is_canceled_or_expires(
    storage: Storage, owner_id: str
) -> None:
    canceled = queued(storage, owner_id, request=THREE, estimated_cost=300)
    queued(storage, owner_id, request=THREE, estimated_cost=300, deadline=time.time() - 1)
    assert counted(storage, owner_id) == (6, 600)

    storage.jobs.request_cancel(canceled.id)
    assert counted(storage, owner_id) == (3, 300)
    storage.jobs.expire()

    assert counted(storage, owner_id) == reported(storage, owner_id) == (0, 0)


def test_a_job_that_waits_for_another_model_costs_what_that_does(
    storage: Storage, owner_id: str
) -> None:
    job = queued(storage, owner_id, estimated_cost=300)

    storage.jobs.reroute_waiting(
        job, engine="other", model="m", request=job.request, warning="…", estimated_cost=None
    )

    assert counted(storage, owner_id) == (1, 0)


def test_a_second_end_counts_for_nothing(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id, request=THREE, estimated_cost=300)
    succeed(storage, job)

    assert not storage.attempts.fail(job, AN_ERROR)
    storage.jobs.request_cancel(job.id)

    assert counted(storage, owner_id) == (1, 40)


def test_a_batch_counts_from_its_acceptance_however_far_it_is_planted(
    storage: Storage, owner_id: str
) -> None:
    items = [replace(an_item(number), estimated_cost=10) for number in range(1, 301)]
    batch = accepted(storage, owner_id, *items)
    assert counted(storage, owner_id) == (300, 3000)

    storage.batches.plant(batch.id)
    assert counted(storage, owner_id) == (300, 3000)
    assert {each.estimated_cost for each in storage.jobs.list(limit=5)} == {10}

    storage.batches.request_cancel(batch.id)
    assert counted(storage, owner_id) == (0, 0)


def test_a_finished_batch_counts_what_its_jobs_do(storage: Storage, owner_id: str) -> None:
    batch = accepted(storage, owner_id, an_item(1), an_item(2))
    storage.batches.plant(batch.id)
    first, second = storage.jobs.list()

    succeed(storage, claimed(storage, first))
    storage.attempts.fail(claimed(storage, second), AN_ERROR)
    storage.batches.request_cancel(batch.id)

    assert counted(storage, owner_id) == reported(storage, owner_id) == (1, 40)


def test_of_many_who_reserve_at_once_as_many_as_there_is_room_for_get_a_share(
    storage: Storage, owner_id: str
) -> None:
    quotas = Quotas(images_per_day=10)

    def accept() -> bool:
        share = Reservation(owner_id, quotas, images=1, cost=0)
        try:
            storage.jobs.submit(a_job(owner_id), reservation=share)
        except QuotaExceeded:
            return False
        return True

    assert sum(together(*[accept] * 30)) == 10
    assert counted(storage, owner_id)[0] == 10


def test_money_is_reserved_likewise(storage: Storage, owner_id: str) -> None:
    quotas = Quotas(budget_per_month=100)
    share = Reservation(owner_id, quotas, images=1, cost=60)
    storage.jobs.submit(a_job(owner_id, estimated_cost=60), reservation=share)

    with pytest.raises(BudgetExceeded, match=r"0\.0001") as refused:
        storage.jobs.submit(a_job(owner_id, estimated_cost=60), reservation=share)

    assert 0 < refused.value.retry_after_s <= 31 * 24 * 3600
    assert len(storage.jobs.list()) == 1


def test_what_was_accepted_before_is_found_when_nothing_is_left(
    storage: Storage, owner_id: str
) -> None:
    share = Reservation(owner_id, Quotas(images_per_day=1), images=1, cost=0)
    new = a_job(owner_id, idempotency_key="k", request_hash="h")
    job, _ = storage.jobs.submit(new, reservation=share)

    assert storage.jobs.submit(new, reservation=share)[0].id == job.id


def test_a_job_of_another_day_does_not_count_today(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)
    with_times(storage, job, created_at=1_000_000.0)

    today = datetime.now(UTC).date()
    assert list(storage.usage.report(today, today, group_by=[Grouping.DAY])) == []


def test_the_report_tells_users_models_and_days_apart(storage: Storage, owner_id: str) -> None:
    bo = storage.users.create(email="bo@example.org", name="Bo").id
    succeed(storage, running(storage, owner_id))
    drawn = running(storage, owner_id, model="other")
    kept = storage.gallery.keep(drawn, [a_picture()])
    usage = Usage(input_tokens=5, output_tokens=7)
    storage.attempts.succeed(drawn, kept, warnings=[], usage=usage, cost=None)
    queued(storage, bo)
    today = datetime.now(UTC).date()

    lines = list(storage.usage.report(today, today, group_by=list(Grouping)))

    assert [(each.email, each.model, each.images, each.unknown_cost) for each in lines] == [
        ("anna@example.org", "other", 1, 1),
        ("anna@example.org", "placeholder", 1, 0),
        ("bo@example.org", "placeholder", 1, 1),
    ]
    assert {each.day for each in lines} == {today}
    assert (lines[0].input_tokens, lines[0].output_tokens) == (5, 7)
    assert lines[0].bytes > 0
    assert [each.jobs for each in storage.usage.report(today, today, group_by=[])] == [3]
    assert lines[2].unfinished == 1
