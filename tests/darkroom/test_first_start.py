"""The schema and the first admin."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from darkroom.domain import GENERATE_IMAGES, FirstAdmin, Role
from darkroom.errors import SettingsError
from darkroom.first_start import create_first_admin, prepare
from darkroom.settings import Settings
from storage import open_storage


def test_the_first_start_makes_an_admin_with_a_key(settings: Settings) -> None:
    admin = prepare(settings)

    assert admin is not None
    assert admin.email == "admin@localhost"
    storage = open_storage(settings)
    user = storage.users.by_key(admin.key)
    assert user is not None
    assert user.is_admin
    assert user.may(GENERATE_IMAGES)
    assert [each.name for each in storage.users.keys_of(user.id)] == ["first key"]
    storage.close()


def test_the_key_does_not_show_by_accident(settings: Settings) -> None:
    admin = prepare(settings)

    assert admin is not None
    assert admin.key not in repr(admin)


def test_later_starts_change_nothing(settings: Settings) -> None:
    prepare(settings)

    assert prepare(replace(settings, admin_email="other@example.org")) is None


def test_a_configured_admin_can_sign_in(settings: Settings) -> None:
    prepare(replace(settings, admin_email="Ada@Example.org", admin_password="correct horse"))

    storage = open_storage(settings)
    assert storage.users.by_password("ada@example.org", "correct horse") is not None
    storage.close()


def test_an_unset_password_is_no_password(settings: Settings) -> None:
    prepare(settings)

    storage = open_storage(settings)
    assert storage.users.by_password("admin@localhost", "") is None
    storage.close()


def test_an_account_without_rights_is_not_made_the_admin(settings: Settings) -> None:
    storage = open_storage(settings)
    prepared = prepare(replace(settings, admin_email="first@example.org"))
    assert prepared is not None
    first = storage.users.by_key(prepared.key)
    assert first is not None
    storage.users.update(first.id, role=Role.USER)

    with pytest.raises(SettingsError, match=r"DARKROOM_ADMIN_EMAIL is first@example\.org"):
        create_first_admin(storage.users, replace(settings, admin_email="first@example.org"))
    storage.close()


def test_of_several_at_once_one_makes_the_admin(settings: Settings) -> None:
    together = threading.Barrier(4)

    def start() -> FirstAdmin | None:
        together.wait()
        return prepare(settings)

    with ThreadPoolExecutor(4) as starters:
        made = [each.result() for each in [starters.submit(start) for _ in range(4)]]

    assert len([each for each in made if each is not None]) == 1
