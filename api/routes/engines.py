"""Engines: which there are, and how they are doing."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from api.auth import current_user, signed_in
from api.blueprints import Blueprint
from api.schemas import EngineSchema
from api.services import services
from darkroom.domain import JobStatus
from darkroom.errors import Misconfigured
from darkroom.pools import Pool, health_key
from engines.registry import Engines
from storage.health import Ailment

engines = Blueprint("engines", __name__, description="How the engines are doing")


@engines.get("/")
@signed_in
@engines.response(200, EngineSchema(many=True))
@engines.problems(401, 503)
def list_engines() -> list[dict[str, Any]]:
    """Every engine that has a driver, with its state and how much it has to do."""
    found = services()
    resting = found.storage.health.resting()
    configured = found.engines()
    pools = found.pools()
    queued, busy = _loads()
    staff = found.staff()
    return [
        {
            "name": name,
            **_state(name, configured, pools.whole(name), resting),
            "queued": queued[name],
            "running": busy[name],
            "worker_slots": staff.slots(name),
            "servers": _servers(pools.whole(name), resting),
            "models": len(configured.offers(configured.enabled[name]))
            if name in configured.enabled
            else 0,
        }
        for name in found.registry.names()
    ]


def _loads() -> tuple[Counter[str], Counter[str]]:
    queued, busy = Counter[str](), Counter[str]()
    for (name, _, status), count in services().storage.backlog.counts().items():
        (queued if status is JobStatus.QUEUED else busy)[name] += count
    return queued, busy


def _state(
    name: str, configured: Engines, pool: Pool, resting: Mapping[str, Ailment]
) -> dict[str, Any]:
    try:
        configured.get(name)
    except Misconfigured as error:
        return _view("disabled", detail=error.detail)
    if not pool.rests(resting):
        return _view("ready")
    # The one that may be well first.
    return _health(
        min((resting[each] for each in pool.keys), key=lambda each: each.rests_until or 0)
    )


def _servers(pool: Pool, resting: Mapping[str, Ailment]) -> list[dict[str, Any]]:
    """Each server of an engine that has a list of them; their names may be addresses."""
    listed = [each for each in pool.places if each.server is not None]
    if not listed or not current_user().is_admin:
        return []
    running = services().storage.outlook.running_by_server(pool.engine)
    shown = []
    for each in listed:
        health = _health(resting.get(health_key(pool.engine, each.server)))
        del health["enabled"]
        shown.append(
            {
                "name": each.server,
                **health,
                "running": running[each.server],
                "max_in_flight": each.limit,
            }
        )
    return shown


def _health(ailment: Ailment | None) -> dict[str, Any]:
    if ailment is None:
        return _view("ready")
    return _view(
        "resting", rests_until=ailment.rests_until, reason=ailment.code, detail=ailment.reason
    )


def _view(
    state: str,
    *,
    rests_until: float | None = None,
    reason: str | None = None,
    detail: str | None = None,
) -> dict[str, Any]:
    view = {
        "enabled": state != "disabled",
        "state": state,
        "rests_until": rests_until,
        "reason": reason,
    }
    # The words may name addresses and accounts.
    return view | {"detail": detail} if current_user().is_admin else view
