"""What a request handler works with, made once per process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import redis
import structlog
from flask import current_app

from api.counting import Counters
from api.looks import Looks
from api.openai.links import PictureLinks
from api.queue import Queue
from api.sign_ins import SignIns
from api.waiting import Waiter
from darkroom import bus
from darkroom.configuration import ImagesConfig
from darkroom.domain import Job, Operation
from darkroom.queues import Queues
from darkroom.settings import Settings
from engines.registry import Engines, Pools, Registry
from storage import Storage

EXTENSION = "darkroom"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Services:
    """The parts behind the API."""

    settings: Settings
    storage: Storage
    queue: Queue
    waiter: Waiter
    #: What holds Celery's queues.
    queues: Queues
    #: The Redis for all else.
    broker: "redis.Redis"
    registry: Registry
    links: PictureLinks
    counters: Counters
    sign_ins: SignIns
    looks: Looks = field(default_factory=Looks)
    #: Set once this process is told to stop.
    leaving: threading.Event = field(default_factory=threading.Event)

    def config(self) -> ImagesConfig:
        """The configuration of this moment."""
        return self.registry.configure(self.storage.config.values(), self.settings)

    def engines(self, operation: Operation = Operation.GENERATE) -> Engines:
        """The engines of this moment, for one operation."""
        return self.registry.engines(self.config(), operation)

    def pools(self) -> Pools:
        """The servers of all engines at this moment."""
        return self.registry.pools(self.config())

    def staff(self) -> bus.Staff:
        """The workers of this moment; none while Redis is away."""
        try:
            return bus.staff(self.broker)
        except redis.RedisError:
            return bus.Staff()

    def announce(self, job: Job) -> None:
        """Tell whoever waits for the job, or follows it, how it stands now."""
        self._tell(
            bus.announce_finished if job.status.is_finished else bus.announce_changed, job.id
        )

    def announce_change(self, job_id: str) -> None:
        """Tell whoever follows the job to look at it again."""
        self._tell(bus.announce_changed, job_id)

    def _tell(self, announce: Callable[["redis.Redis", str], None], job_id: str) -> None:
        try:
            announce(self.broker, job_id)
        except redis.RedisError as error:
            # They ask the database every few seconds.
            log.warning("job not announced", job_id=job_id, reason=str(error))


def services() -> Services:
    """The services of the application that handles this request."""
    found: Services = current_app.extensions[EXTENSION]
    return found
