"""Engines: which there are, and how they are doing."""

from collections import Counter
from typing import Any

from api.auth import current_user, signed_in
from api.blueprints import Blueprint
from api.schemas import EngineSchema
from api.services import services
from darkroom.domain import JobStatus
from darkroom.errors import Misconfigured
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
    ailments = found.storage.health.ailments()
    configured = found.engines()
    queued, busy = _loads()
    return [
        {
            "name": name,
            **_state(name, configured, ailments.get(name)),
            "queued": queued[name],
            "running": busy[name],
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


def _state(name: str, configured: Engines, ailment: Ailment | None) -> dict[str, Any]:
    try:
        configured.get(name)
    except Misconfigured as error:
        return _view("disabled", detail=error.detail)
    if ailment is None or not ailment.rests:
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
