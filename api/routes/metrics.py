"""Metrics: how much there is to do and what happened, for Prometheus."""

from collections.abc import Callable
from functools import wraps

from flask import Response, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from api.auth import admins_only
from api.blueprints import Blueprint
from api.gauges import Gauges
from api.services import services
from darkroom.watch.exporter import bears
from darkroom.watch.meters import meters

metrics = Blueprint("metrics", __name__, description="For Prometheus")


def readers_only(handler: Callable[[], Response]) -> Callable[[], Response]:
    """Only for admins and for whoever has the token for metrics, which needs no database."""
    for_admins = admins_only(handler)

    @wraps(for_admins)
    def wrapper() -> Response:
        token = services().settings.metrics_token
        if token is not None and bears(token, request.headers.get("Authorization", "")):
            return handler()
        return for_admins()

    return wrapper


@metrics.get("/metrics")
@readers_only
@metrics.response(200, {"type": "string"}, content_type="text/plain")
@metrics.problems(401, 403, 503)
def read_metrics() -> Response:
    """How much there is to do, who does it and what happened, as Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(Gauges(services()))
    meters().add_to(registry)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
