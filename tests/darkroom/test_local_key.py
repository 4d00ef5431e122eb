"""The key of commands beside a `darkroom up`: it ends with it, however that ends."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from darkroom import local_key
from darkroom.first_start import prepare
from darkroom.running import FILE, Running, announced, find_running, left_behind
from darkroom.settings import Settings
from storage import open_storage

HERE = Running(url="http://127.0.0.1:9", pid=1)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    # A shared database needs one, and some tests look for one that is away.
    settings = replace(settings, secret_key="a secret of these tests, and of nobody else")
    prepare(settings)
    return settings


def _works(settings: Settings, running: Running) -> bool:
    storage = open_storage(settings)
    try:
        return storage.users.by_key(running.key or "") is not None
    finally:
        storage.close()


def test_it_works_until_it_is_revoked(settings: Settings) -> None:
    made = local_key.make(settings, HERE)

    assert _works(settings, made)
    with announced(settings.data_dir, made):
        assert find_running(settings.data_dir) == made

    local_key.revoke(settings, made)

    assert not _works(settings, made)
    assert not (settings.data_dir / FILE).exists()


def test_nobody_finds_a_start_that_is_not_ready(settings: Settings) -> None:
    local_key.make(settings, HERE)

    assert find_running(settings.data_dir) is None


def test_the_next_start_revokes_what_a_killed_one_left_behind(settings: Settings) -> None:
    killed = local_key.make(settings, HERE)

    after = local_key.make(settings, HERE)

    assert not _works(settings, killed)
    assert _works(settings, after)


def test_a_key_that_cannot_be_revoked_is_left_to_the_next_start(settings: Settings) -> None:
    made = local_key.make(settings, HERE)
    away = replace(settings, database_url="postgresql://nobody@127.0.0.1:1/none")

    with capture_logs() as logged:
        local_key.revoke(away, made)

    assert [each["event"] for each in logged] == ["the next start revokes the key of this one"]
    local_key.make(settings, HERE)
    assert not _works(settings, made)


def test_a_start_without_the_database_says_that_commands_have_no_key(settings: Settings) -> None:
    killed = local_key.make(settings, HERE)
    away = replace(settings, database_url="postgresql://nobody@127.0.0.1:1/none")

    with capture_logs() as logged:
        made = local_key.make(away, HERE)

    assert made == HERE
    assert left_behind(settings.data_dir) == killed, "the next start can still revoke it"
    assert [each["event"] for each in logged] == [
        "commands on this machine need a key of their own"
    ]


def test_a_start_that_cannot_be_written_down_goes_on_to_show_its_first_key(
    settings: Settings,
) -> None:
    (settings.data_dir / FILE).mkdir()

    with capture_logs() as logged:
        made = local_key.make(settings, HERE)

    assert _works(settings, made)
    assert [each["event"] for each in logged] == ["the next start will not know this one's key"]
