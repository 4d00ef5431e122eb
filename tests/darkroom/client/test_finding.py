"""Which server a client finds, and which key it takes there."""

import os
from pathlib import Path

import pytest

from darkroom.client.finding import USUAL_URL, NoServer, Server, find_server
from darkroom.client.signed_in import Login, forget_login, keep_login, login_file
from darkroom.errors import Unavailable
from darkroom.running import Running, announced, find_running

HERE = Running(url="http://127.0.0.1:9", pid=os.getpid(), key="dk_here")
THERE = Login(url="https://there.example", key="dk_there")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def test_nothing_known_says_what_to_do() -> None:
    with pytest.raises(NoServer, match="darkroom up"):
        find_server()

    assert issubclass(NoServer, Unavailable)


def test_one_that_runs_here_is_found(data: Path) -> None:
    with announced(data, HERE):
        assert find_server() == Server(url=HERE.url, key="dk_here")

    with pytest.raises(NoServer):
        find_server()


def test_a_login_wins_over_one_that_runs_here(data: Path) -> None:
    keep_login(THERE)

    with announced(data, HERE):
        assert find_server() == Server(url=THERE.url, key="dk_there")


def test_the_environment_wins_over_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_login(THERE)
    monkeypatch.setenv("DARKROOM_SERVER", "http://other.example")
    monkeypatch.setenv("DARKROOM_KEY", "dk_other")

    assert find_server() == Server(url="http://other.example", key="dk_other")
    assert find_server(url="http://third.example", key="k").key == "k"


def test_a_key_is_not_taken_to_another_server(data: Path) -> None:
    keep_login(THERE)

    with announced(data, HERE):
        assert find_server(url="https://elsewhere.example").key is None
        assert find_server(url="https://there.example/").key == "dk_there"
        assert find_server(url=HERE.url).key == "dk_here"


def test_a_key_alone_is_for_the_usual_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_KEY", "dk_any")

    assert find_server() == Server(url=USUAL_URL, key="dk_any")


def test_only_its_owner_can_read_what_is_kept(data: Path) -> None:
    keep_login(THERE)

    with announced(data, HERE):
        for file in (login_file(), data / "running.json"):
            assert file.stat().st_mode & 0o077 == 0


def test_a_file_that_was_left_behind_is_not_believed(data: Path) -> None:
    with announced(data, HERE):
        left = (data / "running.json").read_text()
    (data / "running.json").write_text(left)
    (data / "running.json").chmod(0o600)

    assert find_running(data) is None


def test_a_file_that_others_may_read_is_not_believed(data: Path) -> None:
    with announced(data, HERE):
        (data / "running.json").chmod(0o644)

        assert find_running(data) is None


def test_a_forgotten_login_is_gone() -> None:
    keep_login(THERE)

    forget_login()

    with pytest.raises(NoServer):
        find_server()


def test_secrets_do_not_show() -> None:
    assert "dk_" not in f"{HERE!r} {THERE!r} {Server(url='x', key='dk_x')!r}"
