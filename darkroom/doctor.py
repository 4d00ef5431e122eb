"""`darkroom doctor`: what works, and what is wrong and how to put it right."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import redis

from darkroom import bus
from darkroom.errors import Unavailable
from darkroom.settings import Settings
from engines.catalog import Catalog
from engines.checkup import check_engines
from engines.registry import Registry
from storage import Storage, open_storage
from storage.migrations import is_current


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """How one part is, in one sentence."""

    part: str
    is_well: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok     ' if self.is_well else 'FAILED '} {self.part}: {self.detail}"


def examine(settings: Settings) -> Iterator[Diagnosis]:
    """Look at the database, the file store, the broker and every enabled engine.

    Engines are asked at no cost, within 10 s. A broker that `darkroom up` brings along is not
    looked at: it runs only while that does. Raises SettingsError for settings that nothing could
    be opened with.
    """
    storage = open_storage(settings)
    try:
        database = _diagnose("database", lambda: _check_database(storage))
        yield database
        yield _diagnose("file store", storage.gallery.check)
        if settings.redis_url is not None:
            yield _diagnose("broker", lambda: _check_broker(settings))
        if database.is_well:
            yield from _engines(storage, settings)
    finally:
        storage.close()


def _engines(storage: Storage, settings: Settings) -> Iterator[Diagnosis]:
    registry = Registry(Catalog.load(settings.model_catalog))
    config = registry.configure(storage.config.values(), settings)
    for each in check_engines(registry, config):
        yield Diagnosis(
            part=f"engine {each.engine} ({', '.join(each.operations)})",
            is_well=each.is_usable,
            detail=each.detail,
        )


def _diagnose(part: str, check: Callable[[], None]) -> Diagnosis:
    try:
        check()
    except Unavailable as error:
        return Diagnosis(part=part, is_well=False, detail=error.detail)
    return Diagnosis(part=part, is_well=True, detail="It answers.")


def _check_database(storage: Storage) -> None:
    if not is_current(storage.database):
        raise Unavailable("Its schema is not current: run `darkroom migrate`.")


def _check_broker(settings: Settings) -> None:
    try:
        bus.connect(settings).ping()
    except redis.RedisError as error:
        raise Unavailable(
            "It does not answer: check DARKROOM_REDIS_URL and whether it is running."
        ) from error
