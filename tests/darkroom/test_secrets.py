"""The service's secret, and what is derived from it."""

import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from darkroom.errors import SettingsError
from darkroom.secrets import SECRET_FILE, SecretBox, derive_key, service_secret
from darkroom.settings import Settings


def test_a_secret_is_made_once_for_its_owner_only(settings: Settings) -> None:
    first = service_secret(settings)

    assert service_secret(settings) == first
    assert len(first) >= 32
    mode = (settings.data_dir / SECRET_FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_processes_that_race_to_make_it_agree(settings: Settings) -> None:
    together = threading.Barrier(8)

    def make() -> str:
        together.wait()
        return service_secret(settings)

    with ThreadPoolExecutor(8) as creators:
        made = [each.result() for each in [creators.submit(make) for _ in range(8)]]

    assert len(set(made)) == 1
    assert [each.name for each in settings.data_dir.iterdir()] == [SECRET_FILE]


def test_a_given_secret_is_used_and_not_written(settings: Settings) -> None:
    given = Settings(data_dir=settings.data_dir, secret_key="s" * 40)

    assert service_secret(given) == "s" * 40
    assert not settings.data_dir.exists()


def test_a_shared_database_without_a_secret_is_refused() -> None:
    with pytest.raises(SettingsError, match="DARKROOM_SECRET_KEY is not set"):
        service_secret(Settings(database_url="postgresql://db/darkroom"))


def test_each_purpose_has_its_own_key() -> None:
    keys = {derive_key(secret, purpose) for secret in ("a", "b") for purpose in ("x", "y")}

    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}


def test_what_was_sealed_with_a_secret_of_before_opens_too() -> None:
    sealed = SecretBox("a" * 40).seal("sk-precious")

    rotated = SecretBox("b" * 40, "a" * 40)

    assert rotated.open(sealed) == "sk-precious"
    assert SecretBox("b" * 40).open(rotated.seal("sk-newer")) == "sk-newer"


def test_what_is_sealed_opens_with_the_same_secret_only() -> None:
    sealed = SecretBox("a" * 40).seal("sk-precious")

    assert "precious" not in sealed
    assert SecretBox("a" * 40).open(sealed) == "sk-precious"
    with pytest.raises(SettingsError, match="DARKROOM_SECRET_KEY"):
        SecretBox("b" * 40).open(sealed)
