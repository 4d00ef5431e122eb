"""Where Celery's queues live, and what Celery is told of it."""

import ssl
from typing import Any

import pytest
from celery import Celery

from darkroom.celery_broker import CeleryBroker
from darkroom.domain import Lane
from darkroom.errors import SettingsError, Unavailable
from darkroom.queues import QueuesAway, RedisQueues, open_queues
from darkroom.settings import Settings, load_settings

REDIS = "redis://broker:6379/0"

#: Nobody listens there.
AWAY = "amqp://user:precious@127.0.0.1:1//"


def broker(url: str | None = None, **settings: Any) -> CeleryBroker:
    return CeleryBroker(Settings(redis_url=REDIS, broker_url=url, **settings))


class Recorder:
    """In Celery's place: remembers how a task was sent."""

    def send_task(self, name: str, **options: Any) -> None:
        self.options = options


def sent(to: CeleryBroker, lane: Lane) -> Any:
    app = Recorder()
    to.send(app, "job-1", engine="builtin", lane=lane, answers_within_s=1)
    return app.options


def test_the_queues_are_in_the_one_redis_unless_another_server_is_named() -> None:
    assert broker().url == REDIS
    assert broker("redis://:pw@other:6379/1").url == "redis://:pw@other:6379/1"
    assert broker("amqp://user:pw@rabbit:5672/images").url == "amqp://user:pw@rabbit:5672/images"


def test_an_address_of_no_kind_of_broker_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for url in (
        "kafka://user:precious@host",
        "rabbit.example.org",
        "amqp://user:precious@one;amqp://user:precious@two",
        "amqps://user:precious@host?ssl_cert_reqs=perhaps",
    ):
        monkeypatch.setenv("DARKROOM_BROKER_URL", url)
        with pytest.raises(SettingsError, match="DARKROOM_BROKER_URL") as refused:
            load_settings()
        assert "precious" not in refused.value.detail
    assert "precious" not in repr(Settings(broker_url=AWAY))


def test_interactive_jobs_go_first_whichever_way_the_broker_counts() -> None:
    to_redis = {lane: sent(broker(), lane)["priority"] for lane in Lane}
    to_rabbitmq = {lane: sent(broker(AWAY), lane)["priority"] for lane in Lane}

    assert to_redis[Lane.INTERACTIVE] < to_redis[Lane.BATCH]
    assert to_rabbitmq[Lane.INTERACTIVE] > to_rabbitmq[Lane.BATCH]
    assert sent(broker(AWAY), Lane.BATCH)["queue"].max_priority == max(to_rabbitmq.values())


def test_tls_to_rabbitmq_checks_the_certificate_and_the_name_unless_told_otherwise() -> None:
    usual = broker("amqps://user:pw@rabbit/images")
    own = broker("amqps://user:pw@rabbit/images?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=required")
    trusting = broker("amqps://user:pw@rabbit/images?ssl_cert_reqs=none")

    assert usual.tls == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "rabbit"}
    assert own.tls == usual.tls | {"ca_certs": "/etc/ca.pem"}
    assert trusting.tls == {"cert_reqs": ssl.CERT_NONE}
    assert {each.url for each in (usual, own, trusting)} == {"amqps://user:pw@rabbit/images"}


def test_a_rabbitmq_that_is_away_is_unavailable_and_its_queues_unknown() -> None:
    away = broker(AWAY)
    with Celery(broker=away.url, set_as_current=False) as app:
        app.conf.update(away.options(connects_within_s=1, answers_within_s=1, connections=1))
        with pytest.raises(Unavailable) as unsent:
            away.send(app, "job-1", engine="builtin", lane=Lane.BATCH, answers_within_s=1)
    queues = open_queues(Settings(redis_url=REDIS, broker_url=AWAY), broker=None)  # type: ignore[arg-type]

    with pytest.raises(QueuesAway) as unknown:
        queues.is_empty("builtin")
    queues.close()

    assert "precious" not in unsent.value.detail + str(unknown.value)


def test_a_second_redis_for_the_queues_is_asked_about_them() -> None:
    settings = Settings(redis_url=REDIS, broker_url="redis://127.0.0.1:1")
    queues = open_queues(settings, broker=None)  # type: ignore[arg-type]

    assert isinstance(queues, RedisQueues)
    with pytest.raises(QueuesAway):
        queues.is_empty("builtin")
    queues.close()
