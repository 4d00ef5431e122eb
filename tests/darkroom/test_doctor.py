"""`darkroom doctor` says of each part whether it works, and what to do when it does not."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from darkroom.cli import commands
from tests.engines.servers.openai import OpenAIServer


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DARKROOM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def run(command: str) -> Result:
    return CliRunner().invoke(commands, [command])


def test_all_is_well_on_defaults() -> None:
    run("migrate")

    result = run("doctor")

    assert result.exit_code == 0
    assert [line.split(":")[0] for line in result.output.splitlines()] == [
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


def test_a_broker_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    run("migrate")
    monkeypatch.setenv("DARKROOM_REDIS_URL", "redis://127.0.0.1:1/0")

    result = run("doctor")

    assert result.exit_code == 1
    assert "FAILED  broker" in result.output
