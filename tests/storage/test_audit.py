"""The audit log, and what ends tokens and keys: on every database."""

import time

import pytest

from darkroom.domain import Action, Outcome
from darkroom.errors import NotFound
from storage import Storage


def test_entries_are_read_newest_first_and_in_parts(storage: Storage) -> None:
    for number in range(30):
        storage.audit.add(
            Action.USER_CHANGED, address="::1", target=str(number), fields=["role", "name"]
        )
    storage.audit.add(Action.SIGN_IN, outcome=Outcome.REFUSED, address="::1", target="x" * 999)

    (refused,) = storage.audit.list(outcome=Outcome.REFUSED)
    first = storage.audit.list(action=Action.USER_CHANGED, limit=3)
    rest = storage.audit.list(action=Action.USER_CHANGED, after=first[-1].id)

    assert [each.target for each in (*first, *rest)] == [
        str(number) for number in reversed(range(30))
    ]
    assert first[0].fields == ("name", "role")
    assert refused.target is not None
    assert len(refused.target) == 254
    with pytest.raises(NotFound):
        storage.audit.list(after="nothing")


def test_only_what_is_old_is_removed(storage: Storage) -> None:
    storage.audit.add(Action.SIGN_IN, address="::1")

    assert storage.audit.prune(days=1) == 0
    assert storage.audit.prune(days=0) == 1
    assert storage.audit.list() == []


def test_a_token_ends_alone_or_with_all_of_its_account(storage: Storage, owner_id: str) -> None:
    users = storage.users

    def counts(token: str) -> bool:
        return users.by_token(owner_id, token_id=token, epoch=0) is not None

    for _ in range(2):
        users.revoke_token("one", expires_at=time.time() + 60)
    assert (counts("one"), counts("two")) == (False, True)
    users.end_sessions(owner_id)
    assert not counts("two")
    with pytest.raises(NotFound):
        users.end_sessions("nobody")


def test_a_key_opens_nothing_after_it_expired(storage: Storage, owner_id: str) -> None:
    _, old = storage.users.create_key(owner_id, name="old", expires_at=time.time() - 1)
    key, new = storage.users.create_key(owner_id, name="new", expires_at=time.time() + 60)

    assert storage.users.by_key(old) is None
    assert (storage.users.is_open(old), storage.users.is_open(new)) == (False, True)
    assert storage.users.key_id(new) == key.id
    assert storage.users.by_key(new) is not None


def test_all_stored_keys_are_sealed_again(storage: Storage) -> None:
    storage.config.update({"IMAGES_OPENAI_API_KEY": "sk-1", "IMAGE_SIZE": "64x64"})

    assert storage.config.seal_again() == 1
    assert storage.config.values()["IMAGES_OPENAI_API_KEY"] == "sk-1"
