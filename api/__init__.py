"""The HTTP API: validate, authenticate, enqueue, wait, answer.

`create_app` makes the WSGI application; everything behind it can be handed in.
"""

import redis
from flask import Flask
from flask_smorest import Api
from flask_swagger_ui import get_swaggerui_blueprint
from werkzeug.middleware.proxy_fix import ProxyFix

from api.auth import init_tokens
from api.cors import allow_origins
from api.counting import ANSWERS_WITHIN_S, Counters
from api.dialects import register_error_handlers
from api.hardening import harden
from api.openai.batch_routes import batches as openai_batches
from api.openai.file_routes import files as openai_files
from api.openai.links import PictureLinks
from api.openai.routes import deployments, dialect
from api.queue import CeleryQueue, Queue
from api.quotas import tell_quotas
from api.rates import tell_rates
from api.requests import track_requests
from api.routes.accounts import accounts
from api.routes.audit import audit_log
from api.routes.batches import batches
from api.routes.engines import engines
from api.routes.files import files
from api.routes.health import health
from api.routes.images import images
from api.routes.jobs import jobs
from api.routes.metrics import metrics
from api.routes.roles import roles
from api.routes.usage import usage
from api.routes.users import users
from api.schemas import ProblemSchema
from api.services import EXTENSION, Services
from api.sign_ins import SignIns
from api.waiting import Waiter
from darkroom import __version__, bus
from darkroom.queues import Queues, open_queues
from darkroom.secrets import derive_key, service_secrets
from darkroom.settings import Settings
from engines.catalog import Catalog
from engines.registry import Registry
from storage import Storage, open_storage


def create_app(
    settings: Settings,
    *,
    storage: Storage | None = None,
    queue: Queue | None = None,
    broker: "redis.Redis | None" = None,
    queues: Queues | None = None,
) -> Flask:
    """The application for one process. Raises SettingsError."""
    storage = storage or open_storage(settings)
    # Counting must not keep anybody waiting; what is sent twice would count twice.
    counters = Counters(
        broker or bus.connect(settings, answers_within_s=ANSWERS_WITHIN_S, retries=0)
    )
    broker = broker or bus.connect(settings)
    secrets = service_secrets(settings)
    app = Flask("api", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    # With or without a slash at the end, lists are the same; a redirect would lose a body.
    app.url_map.strict_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions[EXTENSION] = Services(
        settings=settings,
        storage=storage,
        queue=queue or CeleryQueue(settings),
        queues=queues or open_queues(settings, broker),
        broker=broker,
        waiter=Waiter(
            subscribe=broker.pubsub,
            finished_among=storage.jobs.finished_among,
            capacity=settings.waiting_places,
        ),
        registry=Registry(Catalog.load(settings.model_catalog, currency=settings.currency)),
        links=PictureLinks(*(derive_key(each, "picture links") for each in secrets)),
        counters=counters,
        sign_ins=SignIns(counters, settings),
    )
    init_tokens(app, secrets=secrets, ttl_s=settings.token_ttl_s)
    track_requests(app)
    allow_origins(app, settings.cors_origins)
    harden(app, settings)
    tell_quotas(app)
    tell_rates(app)
    if count := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count)  # type: ignore[method-assign]
    _add_routes(app)
    register_error_handlers(app)
    return app


def _add_routes(app: Flask) -> None:
    app.config.update(
        API_TITLE="Darkroom",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={
            "info": {"description": "Self-hosted image generation."},
            "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
        },
    )
    api = Api()
    api.ERROR_SCHEMA = ProblemSchema
    # Each operation says what it fails with; a response for all else would promise nothing.
    api.DEFAULT_ERROR_RESPONSE_NAME = None
    api.init_app(app)
    api.register_blueprint(images, url_prefix="/api/images")
    # Open WebUI serves the same routes under a version too.
    api.register_blueprint(images, url_prefix="/api/v1/images", name="images_v1")
    api.register_blueprint(jobs, url_prefix="/api/v1/jobs")
    api.register_blueprint(batches, url_prefix="/api/v1/batches")
    api.register_blueprint(engines, url_prefix="/api/v1/engines")
    api.register_blueprint(files, url_prefix="/api/v1/files")
    api.register_blueprint(accounts, url_prefix="/api/v1/auths")
    api.register_blueprint(users, url_prefix="/api/v1/users")
    api.register_blueprint(usage, url_prefix="/api/v1/usage")
    api.register_blueprint(audit_log, url_prefix="/api/v1/audit")
    api.register_blueprint(roles, url_prefix="/api/v1/roles")
    api.register_blueprint(dialect, url_prefix="/v1")
    api.register_blueprint(openai_files, url_prefix="/v1/files")
    api.register_blueprint(openai_batches, url_prefix="/v1/batches")
    api.register_blueprint(deployments, url_prefix="/openai/deployments")
    api.register_blueprint(metrics)
    api.register_blueprint(health)
    app.register_blueprint(get_swaggerui_blueprint("/docs", "/openapi.json"))
