"""Log lines: what they carry, and what they never show."""

import json
import logging

import pytest
import structlog

from darkroom import logs
from darkroom.settings import Settings

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP"


def test_a_line_is_one_json_object_with_its_ids(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))

    with structlog.contextvars.bound_contextvars(request_id="r1", job_id="j1"):
        structlog.get_logger("worker.test").info("job started", model="m")

    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "job started"
    assert (line["request_id"], line["job_id"], line["model"]) == ("r1", "j1", "m")
    assert (line["level"], line["logger"]) == ("info", "worker.test")
    assert line["timestamp"].endswith("Z")


def test_libraries_speak_the_same_language(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))

    logging.getLogger("kombu").warning("retry in %s s", 2)

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["logger"]) == ("retry in 2 s", "kombu")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["ours debug", "ours info", "theirs info", "theirs warning"]),
        ("info", ["ours info", "theirs warning"]),
        ("error", []),
    ],
)
def test_libraries_are_heard_from_warnings_on(
    capsys: pytest.CaptureFixture[str], level: str, shown: list[str]
) -> None:
    logs.configure(Settings(log_format="json", log_level=level))  # type: ignore[arg-type]

    logging.getLogger("api.test").debug("ours debug")
    logging.getLogger("api.test").info("ours info")
    logging.getLogger("celery").info("theirs info")
    logging.getLogger("celery").warning("theirs warning")

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == shown


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_is_ever_shown(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    logs.configure(Settings(log_format=log_format))  # type: ignore[arg-type]
    log = structlog.get_logger("api.test")

    log.info("by name", api_key="precious", Authorization="precious", password="precious")
    log.info("inside", body={"engine_api_key": "precious", "items": [{"token": "precious"}]})
    log.info("Bearer precious0123456789 was sent", url="redis://:precious@broker/0")
    log.info("keys", seen=["dk_precious012345", "sk-proj-precious01", f"x {JWT}"])
    logging.getLogger("kombu").warning("cannot reach amqp://guest:precious@host//")
    try:
        raise ValueError("refused dk_precious012345")
    except ValueError:
        log.exception("broke")

    shown = capsys.readouterr().err
    assert "precious" not in shown
    assert JWT not in shown
    assert shown.count(logs.MASK) >= 11
    assert "ValueError" in shown


def test_what_is_no_secret_stays() -> None:
    event = {
        "event": "call to https://api.example.org:8443/v1 by user@example.org took 3 tries",
        "tokens_used": 12,
        "password": "",
        "model": "sk-",
    }

    assert logs.mask_secrets(None, "info", dict(event)) == event
