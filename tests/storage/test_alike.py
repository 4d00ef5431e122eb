"""Jobs of the same request, for a call that may be about one of them."""

from sqlalchemy import update

from storage import Storage
from storage.database import epoch_now
from storage.tables import jobs
from tests.storage.builders import queued


def found(storage: Storage, owner_id: str) -> list[str]:
    return [
        each.id
        for each in storage.jobs.alike(owner_id, "same", within_s=3600, finished_within_s=600)
    ]


def aged(storage: Storage, job_id: str, **ages_s: float) -> None:
    with storage.database.writing() as connection:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id)
            .values({name: epoch_now() - age_s for name, age_s in ages_s.items()})
        )


def test_the_newest_comes_first(storage: Storage, owner_id: str) -> None:
    first, second = (queued(storage, owner_id, request_hash="same") for _ in range(2))
    aged(storage, first.id, created_at=10)

    assert found(storage, owner_id) == [second.id, first.id]


def test_other_requests_and_those_with_a_key_are_not_alike(storage: Storage, owner_id: str) -> None:
    queued(storage, owner_id, request_hash="other")
    queued(storage, owner_id, request_hash="same", idempotency_key="k")

    assert found(storage, owner_id) == []


def test_what_is_over_for_long_is_not_alike(storage: Storage, owner_id: str) -> None:
    old, done, just_done = (queued(storage, owner_id, request_hash="same") for _ in range(3))
    aged(storage, old.id, created_at=3700)
    aged(storage, done.id, created_at=700, finished_at=650)
    aged(storage, just_done.id, created_at=700, finished_at=10)

    assert found(storage, owner_id) == [just_done.id]
