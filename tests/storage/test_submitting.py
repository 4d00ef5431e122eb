"""A request that is sent twice makes one job."""

from functools import partial

import pytest

from darkroom.errors import IdempotencyConflict
from storage import Storage
from tests.storage.builders import a_job, together


def test_the_same_request_with_the_same_key_is_the_same_job(
    storage: Storage, owner_id: str
) -> None:
    new = a_job(owner_id, idempotency_key="k", request_hash="h")
    first, _ = storage.jobs.submit(new)

    again, is_new = storage.jobs.submit(new)

    assert not is_new
    assert again == first


def test_another_request_with_the_same_key_is_refused(storage: Storage, owner_id: str) -> None:
    storage.jobs.submit(a_job(owner_id, idempotency_key="k", request_hash="h"))

    with pytest.raises(IdempotencyConflict):
        storage.jobs.submit(a_job(owner_id, idempotency_key="k", request_hash="other"))

    assert len(storage.jobs.list()) == 1


def test_keys_of_two_owners_do_not_meet(storage: Storage, owner_id: str) -> None:
    other = storage.users.create(email="bert@example.org", name="Bert")
    first, _ = storage.jobs.submit(a_job(owner_id, idempotency_key="k", request_hash="h"))

    second, is_new = storage.jobs.submit(a_job(other.id, idempotency_key="k", request_hash="h"))

    assert is_new
    assert second.id != first.id


def test_requests_without_a_key_are_jobs_of_their_own(storage: Storage, owner_id: str) -> None:
    first, _ = storage.jobs.submit(a_job(owner_id, request_hash="h"))

    second, is_new = storage.jobs.submit(a_job(owner_id, request_hash="h"))

    assert is_new
    assert second.id != first.id


def test_requests_with_one_key_at_one_moment_make_one_job(storage: Storage, owner_id: str) -> None:
    new = a_job(owner_id, idempotency_key="k", request_hash="h")

    answers = together(*[partial(storage.jobs.submit, new)] * 8)

    assert len({job.id for job, _ in answers}) == 1
    assert [is_new for _, is_new in answers].count(True) == 1
