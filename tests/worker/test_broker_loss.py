"""The one method of kombu that is patched, and only in the release that needs it."""

from types import SimpleNamespace
from typing import Any

import pytest
from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as RedisConnectionError

from worker import broker_loss
from worker.broker_loss import AFFECTED, survive_broker_loss

Channel: Any = transport.Channel


def original(channel: Any, asynchronous: bool = False) -> dict[str, Any]:
    return {"asynchronous": asynchronous}


@pytest.fixture(autouse=True)
def _unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "_connparams", original)


def installed(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(broker_loss, "version", lambda name: version)


def a_channel(*, client: object) -> Any:
    return SimpleNamespace(connection=SimpleNamespace(client=client))


def test_a_channel_without_a_connection_is_a_connection_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch, AFFECTED)

    survive_broker_loss()

    with pytest.raises(RedisConnectionError):
        Channel._connparams(a_channel(client=None))


def test_a_channel_with_a_connection_works_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, AFFECTED)

    survive_broker_loss()

    parameters = Channel._connparams(a_channel(client=object()), asynchronous=True)
    assert parameters == {"asynchronous": True}


@pytest.mark.parametrize("version", ["5.6.2", "5.7.1", "6.0.0"])
def test_other_releases_are_left_alone(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    installed(monkeypatch, version)

    survive_broker_loss()

    assert vars(Channel)["_connparams"] is original
