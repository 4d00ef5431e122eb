"""`darkroom doctor` says of each part whether it works, and what to do when it does not."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from darkroom import bus
from darkroom.broker import embedded_broker
from darkroom.cli import commands
from darkroom.doctor import Grade
from darkroom.doctor.broker import rabbitmq
from darkroom.doctor.clocks import agreement
from darkroom.errors import FileStoreUnavailable
from darkroom.ownership import owning
from darkroom.queues import RabbitQueues
from darkroom.secrets import SECRET_FILE
from darkroom.settings import Settings
from darkroom.supervision import Supervisor
from storage import open_storage
from tests.end_to_end.caller import until
from tests.engines.servers.openai import OpenAIServer


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DARKROOM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def broker_url(tmp_path: Path, supervisor: Supervisor) -> Iterator[str]:
    """The address of a real one, in a folder of its own."""
    settings = Settings(data_dir=tmp_path / "elsewhere")
    with owning(settings.data_dir) as lock:
        embedded = embedded_broker(settings, lock=lock)
        supervisor.start(embedded.program)
        with bus.connect(replace(settings, redis_url=embedded.url)) as client:
            until(lambda: answers(client), "the broker answers")
        yield embedded.url
        supervisor.stop()


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def run(*command: str) -> Result:
    return CliRunner().invoke(commands, command)


def test_all_is_well_on_defaults() -> None:
    run("migrate")

    result = run("doctor")

    assert result.exit_code == 0
    assert [line.split(":")[0] for line in result.output.splitlines()] == [
        "ok      secret",
        "ok      open files",
        "ok      database",
        "ok      file store",
        "ok      engine builtin (generate, edit)",
    ]


def test_a_schema_that_is_not_there_is_named_with_the_remedy() -> None:
    result = run("doctor")

    assert result.exit_code == 1
    assert "FAILED  database: Its schema is not current: run `darkroom migrate`." in result.output
    assert "engine" not in result.output


def test_an_engine_that_refuses_its_key_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("migrate")
    with OpenAIServer() as server:
        monkeypatch.setenv("DARKROOM_IMAGES_OPENAI_API_BASE_URL", server.url)
        monkeypatch.setenv("DARKROOM_IMAGES_OPENAI_API_KEY", "sk-wrong-0123456789")

        result = run("doctor")

    assert result.exit_code == 1
    (line,) = [each for each in result.output.splitlines() if "openai" in each]
    assert line.startswith("FAILED")
    assert "DARKROOM_IMAGES_OPENAI_API_KEY" in line
    assert "sk-wrong-0123456789" not in result.output


def test_a_database_and_a_store_that_do_not_answer_are_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DARKROOM_SECRET_KEY", "x" * 32)
    monkeypatch.setenv("DARKROOM_DATABASE_URL", "postgresql://anna:precious@127.0.0.1:1/darkroom")
    monkeypatch.setenv("DARKROOM_STORAGE_URL", f"file://{tmp_path}/pictures")
    monkeypatch.setattr("storage.files.Files.put", _refuse)

    result = run("doctor")

    assert result.exit_code == 1
    assert "FAILED  database: It does not answer: check DARKROOM_DATABASE_URL" in result.output
    assert "FAILED  file store: No file could be written" in result.output
    assert "check DARKROOM_STORAGE_URL" in result.output
    assert "precious" not in result.output


def _refuse(*_: object) -> None:
    raise FileStoreUnavailable("The file store does not answer at the moment.")


def test_a_broker_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    run("migrate")
    monkeypatch.setenv("DARKROOM_REDIS_URL", "redis://127.0.0.1:1/0")

    result = run("doctor")

    assert result.exit_code == 1
    assert "FAILED  broker" in result.output


def test_a_broker_that_throws_ids_away_fails_and_one_without_workers_is_in_doubt(
    monkeypatch: pytest.MonkeyPatch, broker_url: str
) -> None:
    run("migrate")
    monkeypatch.setenv("DARKROOM_REDIS_URL", broker_url)

    before = run("doctor")
    with redis.Redis.from_url(broker_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    after = run("doctor")

    assert before.exit_code == 0
    assert "ok      clock of the broker" in before.output
    assert "WARNING workers: None gives a sign of life" in before.output
    assert after.exit_code == 1
    assert "FAILED  broker: Its maxmemory-policy is allkeys-lru" in after.output


def test_a_broker_beside_redis_is_looked_at_by_itself(
    monkeypatch: pytest.MonkeyPatch, broker_url: str
) -> None:
    run("migrate")
    monkeypatch.setenv("DARKROOM_REDIS_URL", broker_url)
    monkeypatch.setenv("DARKROOM_BROKER_URL", broker_url.replace("/0", "/1"))
    two = run("doctor")
    monkeypatch.setenv("DARKROOM_BROKER_URL", "amqp://user:precious@127.0.0.1:1//")
    away = run("doctor")

    assert two.exit_code == 0
    assert "ok      broker: Version" in two.output
    assert "ok      Redis: Version" in two.output
    assert away.exit_code == 1
    assert "FAILED  broker: It does not answer: check DARKROOM_BROKER_URL" in away.output
    assert "ok      Redis: Version" in away.output
    assert "precious" not in away.output


class RabbitMQ(RabbitQueues):
    """One that answers, of this release."""

    def __init__(self, version: str) -> None:
        self._version = version

    def describe(self) -> str:
        return f"RabbitMQ {self._version}"

    def declare(self, engines: Iterable[str]) -> None:
        return


@pytest.mark.parametrize(
    ("version", "job_timeout_s", "grade"),
    [("3.13.7", 900, Grade.OK), ("3.13.7", 7200, Grade.WARNING), ("4.3.0", 7200, Grade.OK)],
)
def test_a_rabbitmq_that_takes_long_jobs_back_is_in_doubt(
    version: str, job_timeout_s: float, grade: Grade
) -> None:
    found = rabbitmq(RabbitMQ(version), ["builtin"], job_timeout_s=job_timeout_s)

    assert found.grade is grade
    assert ("consumer_timeout" in found.detail) is (grade is Grade.WARNING)


def test_a_secret_that_others_can_read_is_in_doubt(tmp_path: Path) -> None:
    run("migrate")
    run("doctor")
    (tmp_path / SECRET_FILE).chmod(0o644)

    result = run("doctor", "--json")

    assert result.exit_code == 0
    [found] = [each for each in json.loads(result.output) if each["part"] == "secret"]
    assert found["grade"] == "warning"
    assert "chmod 600" in found["detail"]


def test_a_file_store_that_cannot_be_written_to_fails(tmp_path: Path) -> None:
    run("migrate")
    (tmp_path / "files").rmdir()
    (tmp_path / "files").write_text("in the way")

    result = run("doctor")

    assert result.exit_code == 1
    assert "DARKROOM_STORAGE_URL" in result.output


@pytest.mark.parametrize(
    ("apart_s", "grade"),
    [(0.5, Grade.OK), (-0.5, Grade.OK), (10, Grade.WARNING), (-10, Grade.WARNING), (60, "failed")],
)
def test_clocks_that_are_apart_are_in_doubt_and_fail_beyond_a_lease(
    apart_s: float, grade: Grade
) -> None:
    found = agreement("database", lambda: time.time() + apart_s, lease_s=30)

    assert found.grade == grade


def test_keys_of_another_secret_and_open_secret_files_are_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("o" * 40)
    file.chmod(0o644)
    monkeypatch.setenv("DARKROOM_SECRET_KEY_FILE", str(file))
    run("migrate")
    with closing(open_storage(Settings(data_dir=tmp_path, secret_key="o" * 40))) as storage:
        storage.config.update({"IMAGES_OPENAI_API_KEY": "sk-precious"})
    file.write_text("n" * 40)

    found = run("doctor").stdout

    assert "WARNING secret files" in found
    assert "FAILED  stored keys: Stored engine keys cannot be read (IMAGES_OPENAI_API_KEY)" in found
