"""Is it alive, and can it work: for supervisors, load balancers and people."""

from collections.abc import Callable
from typing import Any

import redis

from api.blueprints import Blueprint
from api.looks import PATIENCE_S
from api.schemas import AliveSchema, ReadinessSchema
from api.services import Services, services
from darkroom import bus
from darkroom.errors import SettingsError, Unavailable
from darkroom.queues import QueuesAway
from storage.migrations import is_current

LATE = {"ok": False, "detail": f"It did not answer within {PATIENCE_S:.0f} seconds."}

health = Blueprint("health", __name__, description="Is it alive, and can it work")


@health.get("/health")
@health.response(200, AliveSchema)
def alive() -> dict[str, str]:
    """This process answers; nothing else is looked at."""
    return {"status": "ok"}


@health.get("/ready")
@health.response(200, ReadinessSchema)
@health.alt_response(503, schema=ReadinessSchema, description="Not ready.")
def ready() -> tuple[dict[str, Any], int]:
    """Whether jobs can be accepted: 200 or 503, with each part's state.

    That takes the database, and a process that was not told to stop. Nothing else is required,
    because all processes share it, and a load balancer would leave none: a job that is accepted now
    runs when the broker, a worker and its engine are there, and a store that is away is waited for.
    """
    found = services()
    looks: dict[str, Callable[[], dict[str, Any]]] = {
        "database": lambda: _state(lambda: _check_database(found)),
        "broker": lambda: _state(lambda: _check_queues(found)),
        "redis": lambda: _state(lambda: _check_redis(found)),
        "files": lambda: _state(found.storage.gallery.check),
        "workers": lambda: _workers(found),
        "engines": lambda: _engines(found),
    }
    if not found.settings.broker_url:
        del looks["redis"]
    checks = {name: state or LATE for name, state in found.looks.at(looks).items()}
    is_ready = checks["database"]["ok"] and not found.leaving.is_set()
    status = "ready" if is_ready else "not ready"
    return {"status": status, "checks": checks}, 200 if is_ready else 503


def _state(check: Callable[[], None]) -> dict[str, Any]:
    try:
        check()
    except Unavailable as error:
        return {"ok": False, "detail": error.detail}
    return {"ok": True}


def _check_database(found: Services) -> None:
    if not is_current(found.storage.database):
        raise Unavailable("The database's schema is not current: run `darkroom migrate`.")


def _check_queues(found: Services) -> None:
    try:
        found.queues.describe()
    except QueuesAway as error:
        raise Unavailable("The broker does not answer.") from error


def _check_redis(found: Services) -> None:
    try:
        found.broker.ping()
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.") from error


def _workers(found: Services) -> dict[str, Any]:
    try:
        staff = bus.staff(found.broker)
    except redis.RedisError:
        return {"ok": False, "detail": "Redis does not answer: nobody knows who works."}
    count = len(staff.hands)
    if count == 0:
        return {"ok": False, "count": 0, "detail": "No worker gives a sign of life."}
    try:
        unserved = staff.unserved(found.engines().enabled)
    except (SettingsError, Unavailable):
        # Said of the engines below.
        unserved = []
    if unserved:
        return {
            "ok": False,
            "count": count,
            "unserved": unserved,
            "detail": bus.unserved_in_words(unserved),
        }
    return {"ok": True, "count": count}


def _engines(found: Services) -> dict[str, Any]:
    """The codes of the failures that made enabled engines rest."""
    try:
        engines = found.engines()
        ailments = found.storage.health.resting()
    except (SettingsError, Unavailable):
        return {"ok": False, "detail": "The configuration cannot be read at the moment."}
    pools = {name: engines.pool(name) for name in engines.enabled}
    resting = {
        name: ailments[pool.keys[0]].code for name, pool in pools.items() if pool.rests(ailments)
    }
    return {"ok": not resting, "resting": resting}
