"""Accounts and API keys, and who gets in with them."""

import pytest
from sqlalchemy import select, update

from darkroom.domain import GENERATE_IMAGES, Limits, NamedRole, Role, User
from darkroom.errors import Conflict, InvalidRequest, NotFound
from storage import Storage
from storage.tables import api_keys, users
from storage.users import NOTE_USE_EVERY_S
from tests.storage.builders import together

PASSWORD = "correct horse battery staple"


@pytest.fixture
def anna(storage: Storage) -> User:
    return storage.users.create(email="anna@example.org", name="Anna", password=PASSWORD)


def test_an_account_comes_back_as_it_was_made(storage: Storage) -> None:
    made = storage.users.create(
        email="anna@example.org", name="Anna", role=Role.ADMIN, permissions=[GENERATE_IMAGES]
    )

    assert storage.users.get(made.id) == made
    assert (made.name, made.role, made.active) == ("Anna", Role.ADMIN, True)
    assert made.permissions == {GENERATE_IMAGES}


def test_the_right_password_opens_the_account(storage: Storage, anna: User) -> None:
    assert storage.users.by_password("anna@example.org", PASSWORD) == anna


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("anna@example.org", "wrong"),
        ("anna@example.org", ""),
        ("anna@example.org", PASSWORD.upper()),
        ("nobody@example.org", PASSWORD),
        ("", PASSWORD),
    ],
)
def test_anything_else_does_not(storage: Storage, anna: User, email: str, password: str) -> None:
    assert storage.users.by_password(email, password) is None


@pytest.mark.parametrize("spelled", ["Anna@Example.ORG", "  anna@example.org "])
def test_the_case_of_an_email_does_not_matter(storage: Storage, anna: User, spelled: str) -> None:
    assert storage.users.by_password(spelled, PASSWORD) == anna


@pytest.mark.parametrize("spelled", ["anna@example.org", "ANNA@example.org"])
def test_an_email_is_taken_once(storage: Storage, anna: User, spelled: str) -> None:
    with pytest.raises(Conflict) as caught:
        storage.users.create(email=spelled, name="Another")

    assert caught.value.param == "email"


def test_an_email_is_taken_once_by_many_at_one_moment(storage: Storage) -> None:
    def sign_up() -> bool:
        try:
            storage.users.create(email="anna@example.org", name="Anna")
        except Conflict:
            return False
        return True

    assert together(*[sign_up] * 6).count(True) == 1


def test_an_account_without_a_password_has_no_password(storage: Storage) -> None:
    storage.users.create(email="bot@example.org", name="Bot")

    assert storage.users.by_password("bot@example.org", "") is None


def test_a_password_is_not_in_the_database(storage: Storage, anna: User) -> None:
    with storage.database.reading() as connection:
        row = connection.execute(select(users)).one()

    assert PASSWORD not in str(row)
    assert row.password_hash.startswith("$argon2id$")


def test_a_new_password_replaces_the_old(storage: Storage, anna: User) -> None:
    storage.users.update(anna.id, password="another one")

    assert storage.users.by_password("anna@example.org", PASSWORD) is None
    assert storage.users.by_password("anna@example.org", "another one") == storage.users.get(
        anna.id
    )


def test_an_inactive_account_lets_nobody_in(storage: Storage, anna: User) -> None:
    _, secret = storage.users.create_key(anna.id, name="laptop")

    storage.users.update(anna.id, active=False)

    assert storage.users.by_password("anna@example.org", PASSWORD) is None
    assert storage.users.by_key(secret) is None
    assert storage.users.by_token(anna.id, token_id="one", epoch=anna.token_epoch) is None


def test_an_account_can_be_changed(storage: Storage, anna: User) -> None:
    changed = storage.users.update(
        anna.id, name="Anne", role=Role.ADMIN, permissions={GENERATE_IMAGES}
    )

    assert storage.users.get(anna.id) == changed
    assert (changed.name, changed.role) == ("Anne", Role.ADMIN)
    assert changed.permissions == {GENERATE_IMAGES}


def test_changing_nothing_changes_nothing(storage: Storage, anna: User) -> None:
    assert storage.users.update(anna.id) == anna


def test_an_unknown_account_is_not_found(storage: Storage) -> None:
    for ask in (storage.users.get, lambda each: storage.users.update(each, name="x")):
        with pytest.raises(NotFound):
            ask("nobody")


def test_accounts_are_listed_from_the_oldest(storage: Storage) -> None:
    made = [
        storage.users.create(email=f"{number}@example.org", name=str(number)) for number in range(5)
    ]
    oldest = sorted(made, key=lambda each: (each.created_at, each.id))

    assert [*storage.users.list(limit=3), *storage.users.list(limit=3, offset=3)] == oldest


def test_it_is_known_whether_there_is_an_admin(storage: Storage, anna: User) -> None:
    assert not storage.users.have_admin()

    storage.users.update(anna.id, role=Role.ADMIN)

    assert storage.users.have_admin()


def test_a_key_opens_its_account(storage: Storage, anna: User) -> None:
    key, secret = storage.users.create_key(anna.id, name="laptop")

    assert storage.users.by_key(secret) == anna
    assert secret.startswith(key.prefix)
    assert secret.startswith("dk_")
    assert storage.users.by_key(secret[:-1]) is None


def test_the_secret_of_a_key_is_not_in_the_database(storage: Storage, anna: User) -> None:
    _, secret = storage.users.create_key(anna.id, name="laptop")

    with storage.database.reading() as connection:
        row = connection.execute(select(api_keys)).one()
    assert secret not in str(row)
    assert secret[len(row.prefix) :] not in str(row)


def test_a_revoked_key_opens_nothing(storage: Storage, anna: User) -> None:
    key, secret = storage.users.create_key(anna.id, name="laptop")
    other, other_secret = storage.users.create_key(anna.id, name="phone")

    storage.users.delete_key(anna.id, key.id)

    assert storage.users.by_key(secret) is None
    assert storage.users.by_key(other_secret) == anna
    assert [each.id for each in storage.users.keys_of(anna.id)] == [other.id]


def test_a_key_of_someone_else_cannot_be_revoked(storage: Storage, anna: User) -> None:
    key, secret = storage.users.create_key(anna.id, name="laptop")

    with pytest.raises(NotFound):
        storage.users.delete_key("someone else", key.id)
    assert storage.users.by_key(secret) == anna


def test_the_use_of_a_key_is_noted_once_in_a_while(storage: Storage, anna: User) -> None:
    _, secret = storage.users.create_key(anna.id, name="laptop")
    assert storage.users.keys_of(anna.id)[0].last_used_at is None

    storage.users.by_key(secret)
    first = storage.users.keys_of(anna.id)[0].last_used_at
    storage.users.by_key(secret)
    second = storage.users.keys_of(anna.id)[0].last_used_at

    assert first is not None
    assert second == first


def test_the_use_of_a_key_is_noted_again_later(storage: Storage, anna: User) -> None:
    _, secret = storage.users.create_key(anna.id, name="laptop")
    storage.users.by_key(secret)
    with storage.database.writing() as connection:
        connection.execute(
            update(api_keys).values(last_used_at=api_keys.c.last_used_at - NOTE_USE_EVERY_S - 1)
        )
    (long_ago,) = storage.users.keys_of(anna.id)

    storage.users.by_key(secret)

    (now,) = storage.users.keys_of(anna.id)
    assert (now.last_used_at or 0) > (long_ago.last_used_at or 0)


def test_a_limit_of_a_newer_release_is_passed_over(storage: Storage) -> None:
    anna = storage.users.create(email="anna@example.org", name="Anna")
    with storage.database.writing() as connection:
        connection.execute(update(users).values(limits={"max_count": 2, "max_moons": 3}))

    assert storage.users.get(anna.id).limits == Limits(max_count=2)


@pytest.mark.parametrize("number", range(5))
def test_a_role_is_not_deleted_while_it_is_given(storage: Storage, number: int) -> None:
    storage.roles.put(NamedRole(name="guest", limits=Limits()))

    def give() -> bool:
        try:
            storage.users.create(email="bo@example.org", name="Bo", role="guest")
        except InvalidRequest:
            return False
        return True

    def delete() -> bool:
        try:
            storage.roles.delete("guest")
        except Conflict:
            return False
        return True

    assert sorted(together(give, delete)) == [False, True]
