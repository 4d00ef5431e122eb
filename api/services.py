"""What a request handler works with, made once per process."""

from dataclasses import dataclass

import redis
from flask import current_app

from api.queue import Queue
from api.waiting import Waiter
from darkroom.configuration import ImagesConfig
from darkroom.domain import Operation
from darkroom.settings import Settings
from engines.registry import Engines, Registry
from storage import Storage

EXTENSION = "darkroom"


@dataclass(frozen=True, kw_only=True)
class Services:
    """The parts behind the API."""

    settings: Settings
    storage: Storage
    queue: Queue
    waiter: Waiter
    broker: "redis.Redis"
    registry: Registry

    def config(self) -> ImagesConfig:
        """The configuration of this moment."""
        return self.registry.configure(self.storage.config.values(), self.settings)

    def engines(self, operation: Operation = Operation.GENERATE) -> Engines:
        """The engines of this moment, for one operation."""
        return self.registry.engines(self.config(), operation)


def services() -> Services:
    """The services of the application that handles this request."""
    found: Services = current_app.extensions[EXTENSION]
    return found
