"""The `darkroom` command, as it is typed."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from darkroom.cli import commands, main
from darkroom.errors import SettingsError
from darkroom.settings import Settings
from storage import Storage, open_storage


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def _type(*words: str, stdin: str = "") -> Result:
    result = CliRunner().invoke(commands, words, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _kept() -> Storage:
    return open_storage(Settings())


@pytest.mark.parametrize("command", [(), *((name,) for name in commands.commands)])
def test_help_says_what_each_command_does(command: tuple[str, ...]) -> None:
    result = _type(*command, "--help")

    assert result.exit_code == 0
    assert len(result.stdout.splitlines()[2]) > 20


@pytest.mark.parametrize(
    "words", [("jobs", "list"), ("jobs", "retry"), ("batches", "cancel"), ("user", "add")]
)
def test_help_says_what_commands_of_a_group_do(words: tuple[str, str]) -> None:
    assert len(_type(*words, "--help").stdout.splitlines()[2]) > 20


@pytest.mark.parametrize("name", ["generate", "edit", "batch", "jobs", "models", "login"])
def test_help_of_commands_that_use_a_server_explains_exit_codes(name: str) -> None:
    assert "130  interrupted with Ctrl-C" in _type(name, "--help").stdout


def test_starting_loads_nothing_heavy() -> None:
    heavy = {"PIL", "api", "celery", "environs", "flask", "redis", "requests", "rich", "sqlalchemy"}

    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, darkroom.cli; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert not heavy & set(loaded)


def test_what_goes_wrong_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DARKROOM_PORT", "http")
    monkeypatch.setattr(sys, "argv", ["darkroom", "up"])

    with pytest.raises(SystemExit) as stopped:
        main()

    assert stopped.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Error: DARKROOM_PORT cannot be used")
    assert len(shown.err.splitlines()) == 1


def test_migrate_prints_the_first_admins_key_once() -> None:
    first, again = _type("migrate"), _type("migrate")

    user = _kept().users.by_key(first.stdout.strip())
    assert user is not None
    assert user.is_admin
    assert (again.exit_code, again.stdout) == (0, "")


def test_user_add_prints_a_key_that_works() -> None:
    _type("migrate")

    added = _type("user", "add", "Bo@Example.org", "--name", "Bo")

    user = _kept().users.by_key(added.stdout.strip())
    assert user is not None
    assert (user.email, user.name, user.is_admin) == ("bo@example.org", "Bo", False)


def test_user_add_takes_a_password_that_no_process_list_shows() -> None:
    _type("migrate")

    _type("user", "add", "bo@example.org", "--admin", "--password-stdin", stdin="correct horse\n")

    user = _kept().users.by_password("bo@example.org", "correct horse")
    assert user is not None
    assert user.is_admin


def test_user_add_without_the_password_it_promised_adds_nobody() -> None:
    _type("migrate")

    assert _type("user", "add", "bo@example.org", "--password-stdin").exit_code == 2
    assert "bo@example.org" not in _type("user", "list").stdout


def test_user_key_makes_another_key() -> None:
    _type("migrate")
    first = _type("user", "add", "bo@example.org").stdout.strip()

    second = _type("user", "key", "BO@example.org").stdout.strip()

    users = _kept().users
    assert first != second
    assert users.by_key(first) == users.by_key(second) is not None


def test_user_list_shows_everyone() -> None:
    _type("migrate")
    _type("user", "add", "bo@example.org")

    shown = _type("user", "list").stdout.splitlines()

    assert [line.split()[:2] for line in shown] == [
        ["admin@localhost", "admin"],
        ["bo@example.org", "user"],
    ]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("user", "key", "nobody@example.org"), "darkroom user list"),
        (("user", "add", "admin@localhost"), "admin@localhost already"),
    ],
)
def test_a_fault_of_the_caller_is_one_line(words: tuple[str, ...], hint: str) -> None:
    _type("migrate")

    shown = _run(*words)

    assert shown.returncode == 1
    assert hint in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_a_database_without_a_schema_is_a_fault_that_says_what_to_do() -> None:
    assert "darkroom migrate" in _run("user", "list").stderr


def test_a_busy_port_is_a_fault_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("DARKROOM_PORT", str(taken.getsockname()[1]))

        shown = _run("up")

    assert shown.returncode == 1
    assert "DARKROOM_PORT" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_a_worker_without_a_broker_is_a_fault_that_says_what_to_do() -> None:
    _type("migrate")

    shown = _run("worker")

    assert shown.returncode == 1
    assert "DARKROOM_REDIS_URL" in shown.stderr


def _run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "darkroom", *words],
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=60,
        check=False,
    )


def test_a_role_is_made_given_and_listed() -> None:
    _type("migrate")
    _type(
        "role", "set", "guest", "--max-size", "512x768", "--max-count", "2", "--model", "builtin/*"
    )
    _type("user", "add", "bo@example.org", "--role", "guest")
    _type("user", "add", "al@example.org")
    _type("user", "role", "al@example.org", "guest")

    assert _type("role", "list").stdout.splitlines() == [
        "admin: no limits",
        "user: no limits",
        "guest: max_size 512x768, max_count 2, models builtin/*",
    ]
    assert _type("user", "list").stdout.count("  guest  ") == 2


def test_quotas_are_shown_changed_one_by_one_and_forgotten() -> None:
    _type("migrate")
    _type("user", "add", "bo@example.org")
    quota = ("user", "quota", "bo@example.org")

    _type(*quota, "--images-per-day", "10", "--budget-per-month", "2.50")
    changed = _type(*quota, "--images-per-day", "none").stdout
    audited = _type("audit", "--action", "user_changed").stdout.splitlines()
    forgotten = _type(*quota, "--defaults").stdout

    assert changed.splitlines() == [
        "images per day: none",
        "images per month: default",
        "budget per day: default",
        "budget per month: 2.50",
    ]
    assert _type(*quota).stdout == forgotten
    assert forgotten.count(": default") == 4
    assert len(audited) == 2
    assert all(each.endswith(": bo@example.org  (quotas)") for each in audited)


@pytest.mark.parametrize("limit", ["-1", "1.5", "many", "1e30"])
def test_a_quota_that_is_no_count_is_refused_by_name(limit: str) -> None:
    _type("migrate")
    _type("user", "add", "bo@example.org")

    refused = _type("user", "quota", "bo@example.org", f"--images-per-day={limit}")

    assert (refused.exit_code, "--images-per-day" in refused.stderr) == (2, True)
    assert "images per day: default" in _type("user", "quota", "bo@example.org").stdout


class TestSecurity:
    OLD, NEW = "o" * 40, "n" * 40

    def test_the_audit_log_tells_what_the_command_line_did(self) -> None:
        _type("migrate")
        _type("user", "add", "ada@example.org")
        _type("user", "signout", "ada@example.org", "--keys")

        newest, *rest = _type("audit").stdout.splitlines()

        assert newest.endswith(
            "sessions_ended done  by - from command line: ada@example.org  (api_keys)"
        )
        assert len(rest) == 3
        only = _type("audit", "--action", "key_created", "--json").stdout.splitlines()
        assert len(only) == 1
        assert '"address":"command line"' in only[0]

    def test_a_new_secret_takes_over_the_stored_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DARKROOM_SECRET_KEY", self.OLD)
        _type("migrate")
        with closing(open_storage(Settings(secret_key=self.OLD))) as storage:
            storage.config.update({"IMAGES_OPENAI_API_KEY": "sk-precious"})
        monkeypatch.setenv("DARKROOM_SECRET_KEY", self.NEW)

        with pytest.raises(SettingsError, match="SECRET_KEY_PREVIOUS"):
            _type("rotate-key")
        monkeypatch.setenv("DARKROOM_SECRET_KEY_PREVIOUS", self.OLD)
        assert "Encrypted 1" in _type("rotate-key").stdout

        with closing(open_storage(Settings(secret_key=self.NEW))) as storage:
            assert storage.config.values()["IMAGES_OPENAI_API_KEY"] == "sk-precious"
