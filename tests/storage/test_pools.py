"""The claim chooses among the servers of an engine."""

from collections import Counter
from typing import Any

import pytest

from darkroom.domain import Job, JobStatus, Operation
from darkroom.pools import Place, Pool, PoolOf, health_key
from storage import Storage
from tests.storage.builders import queued, sent, shown
from tests.storage.test_in_flight import at_once


def pool(*places: Place, **rest: Any) -> Pool:
    return Pool(engine="builtin", places=places, **rest)


def of(found: Pool) -> PoolOf:
    def pool_of(engine: str, operation: Operation) -> Pool:
        return found

    return pool_of


A, B, C = (Place(server=name, limit=2) for name in "abc")


def claim(storage: Storage, job: Job, found: Pool) -> Job | None:
    return storage.attempts.claim(job.id, worker="w1", lease_s=30, pool_of=of(found))


def claimed(storage: Storage, job: Job, found: Pool) -> Job:
    held = claim(storage, job, found)
    assert held is not None
    return held


def given(storage: Storage, owner_id: str, found: Pool, **rest: Any) -> str | None:
    """The server that the next job goes to, and runs on from now on."""
    return claimed(storage, queued(storage, owner_id, **rest), found).server


def rest(storage: Storage, server: str) -> None:
    key = health_key("builtin", server)
    storage.health.note_failure(key, code="engine_unreachable", reason="Away.", rest_s=60)


def test_the_least_busy_server_is_next_for_its_limit(storage: Storage, owner_id: str) -> None:
    found = pool(Place(server="small", limit=1), Place(server="big", limit=3))

    servers = [given(storage, owner_id, found) for _ in range(4)]

    assert sorted(map(str, servers)) == ["big", "big", "big", "small"]
    assert claim(storage, queued(storage, owner_id), found) is None


def test_among_equals_the_one_chosen_longest_ago_is_next(storage: Storage, owner_id: str) -> None:
    found = pool(A, B, C)
    servers = []
    for _ in range(6):
        held = claimed(storage, queued(storage, owner_id), found)
        servers.append(held.server)
        shown(storage, held)

    assert Counter(servers) == {"a": 2, "b": 2, "c": 2}
    assert servers[:3] == servers[3:]


def test_servers_without_a_limit_are_served_by_what_they_run(
    storage: Storage, owner_id: str
) -> None:
    found = pool(Place(server="a"), Place(server="b"))

    servers = Counter(given(storage, owner_id, found) for _ in range(6))

    assert servers == {"a": 3, "b": 3}


def test_claims_at_the_same_moment_pass_no_servers_limit(storage: Storage, owner_id: str) -> None:
    found = pool(A, B)
    jobs = [queued(storage, owner_id) for _ in range(8)]
    taken: list[str | None] = []

    def try_to_claim(number: int) -> None:
        held = claim(storage, jobs[number], found)
        taken.extend([held.server] if held else [])

    at_once(try_to_claim)

    assert Counter(taken) == {"a": 2, "b": 2}


def test_a_server_that_rests_gets_nothing_and_the_others_do(
    storage: Storage, owner_id: str
) -> None:
    rest(storage, "a")

    assert {given(storage, owner_id, pool(A, B)) for _ in range(2)} == {"b"}

    rest(storage, "b")
    for _ in range(3):
        assert claim(storage, queued(storage, owner_id), pool(A, B)) is None
    assert sent(storage, pool=pool(A, B)) == []


def test_no_more_is_sent_than_the_servers_that_are_well_take(
    storage: Storage, owner_id: str
) -> None:
    for _ in range(9):
        queued(storage, owner_id)
    rest(storage, "a")

    assert len(sent(storage, pool=pool(A, B, C))) == 4
    assert sent(storage, pool=pool(A, B, C)) == []


def test_a_model_goes_to_the_servers_that_list_it(storage: Storage, owner_id: str) -> None:
    plain = Place(server="plain", limit=9, models=frozenset({"m"}))
    rich = Place(server="rich", limit=9, models=frozenset({"m", "rare"}))
    unasked = Place(server="unasked", limit=9)

    assert {given(storage, owner_id, pool(plain, rich), model="rare") for _ in range(3)} == {"rich"}
    # Nobody lists it: an engine may have more than it tells.
    assert given(storage, owner_id, pool(plain, rich), model="unheard") == "plain"
    some = {given(storage, owner_id, pool(plain, rich, unasked), model="rare") for _ in range(4)}
    assert some == {"rich", "unasked"}


def test_a_free_server_does_not_wait_behind_jobs_for_another(
    storage: Storage, owner_id: str
) -> None:
    plain = Place(server="plain", limit=1, models=frozenset({"m"}))
    rich = Place(server="rich", limit=1, models=frozenset({"rare"}))
    found = pool(plain, rich)
    assert given(storage, owner_id, found, model="rare") == "rich"
    for _ in range(3):
        queued(storage, owner_id, model="rare")
    common = queued(storage, owner_id, model="m")

    assert sent(storage, pool=found) == [common.id]


@pytest.mark.parametrize("is_paid", [True, False])
def test_a_free_server_does_not_wait_behind_a_run_on_a_full_one(
    storage: Storage, owner_id: str, is_paid: bool
) -> None:
    one, other = (Place(server=name, limit=1) for name in ("one", "other"))
    found = pool(one, other, resumes=True, begins_anew=not is_paid)
    bound = begun(storage, owner_id, found)
    full = pool(*(each for each in (one, other) if each.server == bound.server))
    claimed(storage, queued(storage, owner_id), full)
    common = queued(storage, owner_id)

    assert sent(storage, pool=found) == [common.id]


def test_a_free_server_does_not_wait_behind_jobs_that_it_failed(
    storage: Storage, owner_id: str
) -> None:
    one, other = (Place(server=name, limit=1) for name in ("one", "other"))
    found = pool(one, other)
    failed = claimed(storage, queued(storage, owner_id), pool(one))
    storage.attempts.hand_back(failed, outcome="engine_unreachable", avoided=["one"])
    claimed(storage, queued(storage, owner_id), pool(other))
    common = queued(storage, owner_id)

    assert sent(storage, pool=found) == [common.id]


def test_a_server_that_failed_the_job_is_left_for_the_others(
    storage: Storage, owner_id: str
) -> None:
    found = pool(A, B)
    held = claimed(storage, queued(storage, owner_id), found)
    assert held.server is not None
    storage.attempts.hand_back(held, outcome="engine_unreachable", avoided=[held.server])

    second = claimed(storage, held, found)

    assert {held.server, second.server} == {"a", "b"}
    assert [each.server for each in storage.attempts.of_job(held.id)] == [
        held.server,
        second.server,
    ]
    # Without another one it is better than none.
    storage.attempts.hand_back(second, outcome="engine_unreachable", avoided=["a", "b"])
    assert claimed(storage, held, found).server in ("a", "b")


def begun(storage: Storage, owner_id: str, found: Pool) -> Job:
    """A job that waits again, and whose run is upstream."""
    held = claimed(storage, queued(storage, owner_id), found)
    storage.attempts.note(held, upstream_id="run-1")
    storage.attempts.hand_back(held, outcome="lease_lost")
    return storage.jobs.get(held.id)


@pytest.mark.parametrize("begins_anew", [True, False])
def test_a_run_goes_on_where_it_began(storage: Storage, owner_id: str, begins_anew: bool) -> None:
    found = pool(A, B, C, resumes=True, begins_anew=begins_anew)
    job = begun(storage, owner_id, found)

    second = claimed(storage, job, found)

    assert (second.server, second.upstream_id) == (job.server, "run-1")


def test_a_free_run_begins_anew_elsewhere_when_its_server_rests(
    storage: Storage, owner_id: str
) -> None:
    found = pool(A, B, resumes=True, begins_anew=True)
    job = begun(storage, owner_id, found)
    rest(storage, str(job.server))

    second = claimed(storage, job, found)

    assert second.server != job.server
    assert second.upstream_id is None


def test_a_paid_run_waits_for_its_server(storage: Storage, owner_id: str) -> None:
    found = pool(A, B, resumes=True)
    job = begun(storage, owner_id, found)
    rest(storage, str(job.server))

    assert claim(storage, job, found) is None
    assert storage.jobs.get(job.id).status is JobStatus.QUEUED

    storage.health.forget()
    assert claimed(storage, job, found).server == job.server


def test_a_paid_run_is_not_given_to_another_when_its_server_is_gone(
    storage: Storage, owner_id: str
) -> None:
    job = begun(storage, owner_id, pool(A, B, resumes=True))

    second = claimed(storage, job, pool(C, resumes=True))

    # Whoever draws finds no such server, and says what that means.
    assert (second.server, second.upstream_id) == (job.server, "run-1")
