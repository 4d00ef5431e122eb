"""`darkroom doctor`: what works, and what is wrong and how to put it right."""

from collections.abc import Iterator
from contextlib import closing

import redis

from darkroom import bus
from darkroom.celery_broker import CeleryBroker
from darkroom.doctor import clocks, stores
from darkroom.doctor.broker import rabbitmq, set_up, workers
from darkroom.doctor.diagnosis import Diagnosis, Grade, diagnose, failed, well
from darkroom.doctor.surroundings import surroundings
from darkroom.errors import KeysUnreadable, SettingsError
from darkroom.queues import QueuesAway, QueuesRefused, RabbitQueues
from darkroom.settings import Settings
from engines.catalog import Catalog
from engines.checkup import check_engines
from engines.registry import Registry, installed_engines
from storage import Storage, open_storage

__all__ = ["Diagnosis", "Grade", "examine"]


def examine(settings: Settings) -> Iterator[Diagnosis]:
    """Look at this machine, the database, the file store, the broker, the workers, the clocks and
    every enabled engine.

    Engines are asked at no cost, within 10 s. A broker that `darkroom up` brings along is not
    looked at: it runs only while that does.
    """
    yield from surroundings(settings)
    try:
        storage = open_storage(settings)
    except SettingsError as error:
        yield failed("settings", error.detail)
        return
    try:
        database = diagnose("database", lambda: stores.database(storage))
        yield database
        yield diagnose("file store", lambda: stores.file_store(storage))
        if settings.broker_url is not None:
            yield _own_broker(settings)
        if settings.redis_url is not None:
            yield from _redis(
                settings, _enabled(storage, settings) if database.grade is Grade.OK else []
            )
        if database.grade is Grade.OK:
            if settings.is_shared:
                yield diagnose(
                    "clock of the database",
                    lambda: clocks.agreement(
                        "database", storage.database.now, lease_s=settings.lease_s
                    ),
                )
            yield from _engines(storage, settings)
    finally:
        storage.close()


def _own_broker(settings: Settings) -> Diagnosis:
    """The server that holds the queues, where it is not the Redis for all else."""
    try:
        if not bus.is_rabbitmq(settings):
            with bus.connect_to(bus.queues_url(settings), part="broker") as client:
                return set_up(client, "broker")
        with closing(RabbitQueues(CeleryBroker(settings))) as queues:
            return rabbitmq(queues, installed_engines(), job_timeout_s=settings.job_timeout_s)
    except (redis.RedisError, QueuesAway) as error:
        if isinstance(error, QueuesRefused):
            return failed("broker", f"It refuses us ({error}): check DARKROOM_BROKER_URL.")
        # Redis' words could quote the URL with its password.
        return failed(
            "broker", "It does not answer: check DARKROOM_BROKER_URL and whether it is running."
        )


def _redis(settings: Settings, engines: list[str]) -> Iterator[Diagnosis]:
    part = "broker" if settings.broker_url is None else "Redis"
    with bus.connect(settings) as client:
        try:
            yield set_up(client, part)
            yield workers(client, engines)
            yield clocks.agreement(part, lambda: bus.now(client), lease_s=settings.lease_s)
        except redis.RedisError:
            yield failed(
                part, "It does not answer: check DARKROOM_REDIS_URL and whether it is running."
            )


def _enabled(storage: Storage, settings: Settings) -> list[str]:
    """The engines that jobs can be asked of; none where the configuration cannot be read, which
    whoever looks at the secret says."""
    registry = Registry(Catalog.load(settings.model_catalog))
    try:
        return list(registry.engines(registry.configure(storage.config.values(), settings)).enabled)
    except SettingsError:
        return []


def _engines(storage: Storage, settings: Settings) -> Iterator[Diagnosis]:
    registry = Registry(Catalog.load(settings.model_catalog))
    try:
        values = storage.config.values()
    except KeysUnreadable as error:
        yield failed("stored keys", error.detail)
        return
    config = registry.configure(values, settings)
    for each in check_engines(registry, config):
        name = each.engine if each.server is None else f"{each.engine}, server {each.server}"
        part = f"engine {name} ({', '.join(each.operations)})"
        yield (well if each.is_usable else failed)(part, each.detail)
