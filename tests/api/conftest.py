"""The API in one process: a real database and file store, jobs run where they are sent."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import fakeredis
import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from flask_smorest import Blueprint
from werkzeug.test import TestResponse

from api import create_app
from api.auth import issue_token
from api.services import EXTENSION
from darkroom import bus
from darkroom.domain import GENERATE_IMAGES, Role, User
from darkroom.settings import Settings
from engines.catalog import Catalog
from engines.registry import Registry
from storage import Storage, open_storage
from storage.backlog import Next
from tests.backends.choice import places, prepare
from worker.aftermath import Aftermath
from worker.fallback import Fallbacks
from worker.generation import Studio, run_job
from worker.leases import Leases
from worker.outcomes import Policy

#: The name of the worker that runs what is sent.
WORKER = "host-7:inline"


@dataclass
class InlineQueue:
    """Runs a job at once, as a worker would; or holds it back while `is_held`."""

    storage: Storage
    settings: Settings
    broker: "redis.Redis"
    is_held: bool = False
    is_away: bool = False
    sent: list[Next] = field(default_factory=list)

    def send(self, job: Next) -> bool:
        if self.is_away:
            return False
        self.sent.append(job)
        if not self.is_held:
            self.run(job)
        return True

    def run(self, job: Next) -> None:
        registry = Registry(Catalog())
        config = registry.configure(self.storage.config.values(), self.settings)
        run_job(
            job.id,
            Studio(
                storage=self.storage,
                leases=Leases(self.storage.attempts, worker=WORKER, lease_s=30),
                engine_for=lambda job: registry.engines(config).get(job.engine),
                announce=partial(bus.announce_finished, self.broker),
                announce_change=partial(bus.announce_changed, self.broker),
                aftermath=Aftermath(
                    storage=self.storage,
                    policy=Policy(max_attempts=1, patience_s=0, repeat_paid=False),
                    fallbacks=Fallbacks(
                        models={},
                        engines=partial(registry.engines, config),
                        health=self.storage.health,
                        limits=self.storage.users.limits_of,
                    ),
                    driver=registry.driver,
                ),
                top_up=lambda engine: None,
                timeout_s=30,
                pause=lambda seconds: False,
            ),
        )


class Answer(TestResponse):
    """An answer whose JSON is taken at its word: a wrong shape fails the test."""

    json: Any


@dataclass
class Caller:
    """Someone who calls the API, with what they are signed in as."""

    client: FlaskClient
    headers: dict[str, str]
    user: User

    @property
    def nobody(self) -> "Caller":
        """The same client, not signed in."""
        return Caller(self.client, {}, self.user)

    def get(self, path: str, **kwargs: Any) -> Answer:
        return self._call("GET", path, **kwargs)

    def post(self, path: str, **kwargs: Any) -> Answer:
        return self._call("POST", path, **kwargs)

    def put(self, path: str, **kwargs: Any) -> Answer:
        return self._call("PUT", path, **kwargs)

    def patch(self, path: str, **kwargs: Any) -> Answer:
        return self._call("PATCH", path, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> Answer:
        return self._call("DELETE", path, **kwargs)

    def follow(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """An answer that is read piece by piece while it goes on; close it."""
        return cast(Answer, self.client.get(path, headers=self.headers | (headers or {})))

    def generate(self, headers: dict[str, str] | None = None, **body: Any) -> Answer:
        """Ask for a picture; the prompt and a small size need not be said."""
        return self.post(
            "/api/images/generations",
            json={"prompt": "a lighthouse", "size": "64x64"} | body,
            headers=headers or {},
        )

    def _call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **kwargs: Any
    ) -> Answer:
        # Read to the end, so that files are closed as a server would.
        answer = self.client.open(
            path, method=method, headers=self.headers | (headers or {}), buffered=True, **kwargs
        )
        return cast(Answer, answer)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", wait_s=2, redis_url="redis://unused", **places())


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    storage = open_storage(settings)
    prepare(storage.database)
    yield storage
    storage.close()


@pytest.fixture
def redis_server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def broker(redis_server: fakeredis.FakeServer) -> "redis.Redis":
    client: redis.Redis = fakeredis.FakeRedis(server=redis_server, decode_responses=True)
    return client


@pytest.fixture
def queue(storage: Storage, settings: Settings, broker: "redis.Redis") -> InlineQueue:
    return InlineQueue(storage, settings, broker)


@pytest.fixture
def is_documented() -> bool:
    """Whether the application describes itself, which takes longer than all else about making it.

    The tests of the description override it.
    """
    return False


@pytest.fixture
def make_app(
    storage: Storage,
    queue: InlineQueue,
    broker: "redis.Redis",
    is_documented: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[Settings], Flask]]:
    made: list[Flask] = []
    if not is_documented:
        monkeypatch.setattr(Blueprint, "register_views_in_doc", lambda *_, **__: None)

    def make(settings: Settings) -> Flask:
        made.append(create_app(settings, storage=storage, queue=queue, broker=broker))
        return made[-1]

    yield make
    for app in made:
        app.extensions[EXTENSION].waiter.drain()


@pytest.fixture
def app(make_app: Callable[[Settings], Flask], settings: Settings) -> Flask:
    return make_app(settings)


@pytest.fixture
def sign_in(app: Flask, storage: Storage) -> Callable[..., Caller]:
    """Make an account and a caller signed in to it."""

    def make(
        email: str,
        role: str = Role.USER,
        permissions: tuple[str, ...] = (GENERATE_IMAGES,),
        password: str | None = None,
    ) -> Caller:
        user = storage.users.create(
            email=email, name=email, role=role, permissions=permissions, password=password
        )
        with app.test_request_context():
            token, _ = issue_token(user)
        return Caller(app.test_client(), {"Authorization": f"Bearer {token}"}, user)

    return make


@pytest.fixture
def anna(sign_in: Callable[..., Caller]) -> Caller:
    return sign_in("anna@example.org")


@pytest.fixture
def admin(sign_in: Callable[..., Caller]) -> Caller:
    return sign_in("admin@example.org", Role.ADMIN)
