"""Metrics: how much there is to do, for Prometheus."""

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from api.auth import admins_only
from api.blueprints import Blueprint
from api.gauges import Gauges
from api.services import services

metrics = Blueprint("metrics", __name__, description="For Prometheus")


@metrics.get("/metrics")
@admins_only
@metrics.response(200, {"type": "string"}, content_type="text/plain")
@metrics.problems(401, 403, 503)
def read_metrics() -> Response:
    """How much there is to do and who does it, as Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(Gauges(services()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
