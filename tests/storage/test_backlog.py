"""The backlog: who is next, and how many of them."""

from collections import Counter
from functools import partial

import pytest

from darkroom.domain import Job, JobStatus, Lane, Limits, NamedRole
from storage import Storage
from storage.health import FAILURES_TO_REST
from tests.storage.builders import claimed, queued, running, sent, shown, together, with_times


@pytest.fixture
def owner_ids(storage: Storage) -> list[str]:
    """Three users, in the order in which they are served when nobody was served before."""
    names = ("bert", "carl", "dora")
    return sorted(storage.users.create(email=f"{name}@example.org", name=name).id for name in names)


def in_order(storage: Storage, owner_id: str, count: int, *, lane: Lane) -> list[Job]:
    """Jobs of which each is a second older than the next, submitted the newest first."""
    jobs = [queued(storage, owner_id, lane=lane) for _ in range(count)]
    for place, each in enumerate(reversed(jobs)):
        with_times(storage, each, created_at=1000.0 + place)
    return jobs[::-1]


def owners_of(storage: Storage, job_ids: list[str]) -> list[str]:
    return [storage.jobs.get(each).owner_id for each in job_ids]


def test_interactive_jobs_come_before_older_batches(storage: Storage, owner_id: str) -> None:
    batch = queued(storage, owner_id, lane=Lane.BATCH)
    interactive = queued(storage, owner_id, lane=Lane.INTERACTIVE)

    taken = storage.backlog.take("builtin", window=8)

    assert [(each.id, each.engine, each.lane) for each in taken] == [
        (interactive.id, "builtin", Lane.INTERACTIVE),
        (batch.id, "builtin", Lane.BATCH),
    ]


def test_a_full_lane_takes_no_room_from_the_other(storage: Storage, owner_id: str) -> None:
    for lane in Lane:
        in_order(storage, owner_id, 5, lane=lane)

    taken = storage.backlog.take("builtin", window=3)

    assert Counter(each.lane for each in taken) == {Lane.INTERACTIVE: 3, Lane.BATCH: 3}


def test_engines_do_not_share_a_window(storage: Storage, owner_id: str) -> None:
    queued(storage, owner_id, engine="openai")
    mine = queued(storage, owner_id, engine="builtin")

    assert sent(storage, engine="builtin", window=1) == [mine.id]


def test_no_more_is_sent_than_the_window_holds(storage: Storage, owner_id: str) -> None:
    in_order(storage, owner_id, 6, lane=Lane.INTERACTIVE)
    first = sent(storage, window=4)

    assert len(first) == 4
    assert sent(storage, window=4) == []


def test_a_claimed_job_leaves_the_window(storage: Storage, owner_id: str) -> None:
    jobs = in_order(storage, owner_id, 6, lane=Lane.INTERACTIVE)
    sent(storage, window=4)

    claimed(storage, jobs[0])

    assert sent(storage, window=4) == [jobs[4].id]


def test_a_batch_is_topped_up_by_half_a_window(storage: Storage, owner_id: str) -> None:
    jobs = in_order(storage, owner_id, 20, lane=Lane.BATCH)
    assert len(sent(storage, window=8)) == 8

    for each in jobs[:3]:
        claimed(storage, each)
    assert sent(storage, window=8) == []

    claimed(storage, jobs[3])
    assert sent(storage, window=8) == [each.id for each in jobs[8:12]]


def test_within_one_user_the_oldest_job_comes_first(storage: Storage, owner_id: str) -> None:
    jobs = in_order(storage, owner_id, 5, lane=Lane.INTERACTIVE)

    assert sent(storage, window=3) == [each.id for each in jobs[:3]]


def test_users_share_a_window_evenly(storage: Storage, owner_ids: list[str]) -> None:
    for each in owner_ids:
        in_order(storage, each, 10, lane=Lane.INTERACTIVE)

    taken = sent(storage, window=6)

    assert owners_of(storage, taken) == [*owner_ids, *owner_ids]


def test_the_user_served_least_recently_is_next(storage: Storage, owner_ids: list[str]) -> None:
    for each in owner_ids:
        in_order(storage, each, 10, lane=Lane.INTERACTIVE)

    served: list[str] = []
    for _ in range(7):
        (job_id,) = sent(storage, window=1)
        claimed(storage, storage.jobs.get(job_id))
        served += owners_of(storage, [job_id])

    assert served == [*owner_ids, *owner_ids, owner_ids[0]]


def test_who_comes_late_is_served_before_who_was_served(
    storage: Storage, owner_ids: list[str]
) -> None:
    early, *_, late = reversed(owner_ids)
    in_order(storage, early, 10, lane=Lane.INTERACTIVE)
    sent(storage, window=2)
    in_order(storage, late, 10, lane=Lane.INTERACTIVE)

    assert owners_of(storage, sent(storage, window=5)) == [late, early, late]


def test_a_job_is_not_taken_before_it_is_due(storage: Storage, owner_id: str) -> None:
    early, due, late = in_order(storage, owner_id, 3, lane=Lane.INTERACTIVE)
    with_times(storage, early, not_before=2e10)
    with_times(storage, due, not_before=1.0)

    assert sent(storage) == [due.id, late.id]


def test_users_whose_jobs_are_not_due_keep_nobody_waiting(
    storage: Storage, owner_ids: list[str]
) -> None:
    *others, last = owner_ids
    for each in others:
        with_times(storage, queued(storage, each), not_before=2e10)
    job = queued(storage, last)

    assert sent(storage, window=2) == [job.id]


def test_a_user_gets_no_more_at_once_than_the_limit(storage: Storage, owner_id: str) -> None:
    jobs = in_order(storage, owner_id, 5, lane=Lane.INTERACTIVE)

    assert sent(storage, running_limit=2) == [each.id for each in jobs[:2]]
    held = [claimed(storage, each) for each in jobs[:2]]
    assert sent(storage, running_limit=2) == []
    shown(storage, held[0])
    assert sent(storage, running_limit=2) == [jobs[2].id]


def test_the_limit_counts_both_lanes(storage: Storage, owner_id: str) -> None:
    interactive = queued(storage, owner_id, lane=Lane.INTERACTIVE)
    queued(storage, owner_id, lane=Lane.BATCH)

    assert sent(storage, running_limit=1) == [interactive.id]


def test_a_user_at_the_limit_keeps_nobody_else_waiting(
    storage: Storage, owner_ids: list[str]
) -> None:
    busy, free, _ = owner_ids
    running(storage, busy)
    queued(storage, busy)
    theirs = queued(storage, free)

    assert sent(storage, window=1, running_limit=1) == [theirs.id]


def test_an_engine_that_rests_gets_no_job(storage: Storage, owner_id: str) -> None:
    queued(storage, owner_id)
    theirs = queued(storage, owner_id, engine="openai")
    for _ in range(FAILURES_TO_REST):
        storage.health.note_failure("builtin", code="engine_unreachable", reason="Away.")

    assert sent(storage, engine="builtin") == []
    assert sent(storage, engine="openai") == [theirs.id]


def test_no_job_is_taken_twice_at_one_moment(storage: Storage, owner_ids: list[str]) -> None:
    jobs = [queued(storage, each) for each in owner_ids for _ in range(10)]

    takes = together(*[partial(sent, storage, window=100)] * 6)

    taken = [job_id for take in takes for job_id in take]
    assert sorted(taken) == sorted(each.id for each in jobs)


@pytest.mark.parametrize(
    ("queued_already", "more", "has_room"),
    [(0, 1, True), (2, 1, True), (3, 1, False), (4, 1, False), (1, 2, True), (1, 3, False)],
)
def test_a_user_may_queue_so_many_jobs(
    storage: Storage, owner_id: str, queued_already: int, more: int, has_room: bool
) -> None:
    in_order(storage, owner_id, queued_already, lane=Lane.BATCH)
    running(storage, owner_id)

    assert storage.backlog.has_room_for(owner_id, most=3, more=more) is has_room


def test_a_sent_job_still_counts_as_queued(storage: Storage, owner_id: str) -> None:
    queued(storage, owner_id)
    sent(storage)

    assert not storage.backlog.has_room_for(owner_id, most=1)


def test_unfinished_jobs_are_counted(storage: Storage, owner_id: str) -> None:
    in_order(storage, owner_id, 2, lane=Lane.BATCH)
    running(storage, owner_id)
    storage.jobs.request_cancel(running(storage, owner_id, engine="openai").id)
    shown(storage, running(storage, owner_id))

    assert storage.backlog.counts() == {
        ("builtin", Lane.BATCH, JobStatus.QUEUED): 2,
        ("builtin", Lane.INTERACTIVE, JobStatus.RUNNING): 1,
        ("openai", Lane.INTERACTIVE, JobStatus.CANCELING): 1,
    }


def test_a_role_may_run_fewer_or_more_than_is_usual(storage: Storage) -> None:
    storage.roles.put(NamedRole(name="guest", limits=Limits(max_running=1)))
    storage.roles.put(NamedRole(name="team", limits=Limits(max_running=3)))
    owners = [
        storage.users.create(email=f"{role}@example.org", name=role, role=role).id
        for role in ("guest", "team", "user")
    ]
    for owner in owners:
        for _ in range(4):
            queued(storage, owner)

    taken = owners_of(storage, sent(storage, window=100, running_limit=2))

    assert [taken.count(each) for each in owners] == [1, 3, 2]
    assert sent(storage, window=100, running_limit=2) == []


def test_an_account_may_run_more_than_its_role(storage: Storage) -> None:
    storage.roles.put(NamedRole(name="guest", limits=Limits(max_running=1)))
    guest = storage.users.create(
        email="g@example.org", name="G", role="guest", own_limits=Limits(max_running=2)
    )
    for _ in range(3):
        queued(storage, guest.id)

    assert len(storage.backlog.take("builtin", window=100)) == 2
