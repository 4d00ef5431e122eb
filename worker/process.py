"""One worker process: what it opens when it starts, and the two threads beside its jobs.

The *heart* renews leases and gives signs of life; the *upkeep* does what nobody else would.
"""

import os
import socket
import threading
import uuid
from collections.abc import Callable

import redis
import structlog

from darkroom import bus
from darkroom.domain import Job
from darkroom.errors import Misconfigured, SettingsError
from darkroom.settings import Settings
from engines.base import Engine
from engines.catalog import Catalog
from engines.registry import Registry
from storage import open_storage
from worker.generation import Studio, run_job
from worker.leases import Leases
from worker.upkeep import Upkeep

log = structlog.get_logger(__name__)

#: Longest time between two rounds of upkeep, in seconds.
UPKEEP_EVERY_S = 5.0


class WorkerProcess:
    """Everything a worker process holds open."""

    def __init__(self, settings: Settings, send: Callable[[Job], None]) -> None:
        self._settings = settings
        self._storage = open_storage(settings)
        self._broker = bus.connect(settings)
        self._registry = Registry(Catalog.load(settings.model_catalog))
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._leases = Leases(self._storage.jobs, worker=self.name, lease_s=settings.lease_s)
        self._studio = Studio(
            storage=self._storage,
            leases=self._leases,
            engine_for=self._engine_for,
            announce=self._announce,
            timeout_s=settings.job_timeout_s,
            pause=self._stopping.wait,
        )
        self._upkeep = Upkeep(
            storage=self._storage,
            broker=self._broker,
            send=send,
            announce=self._announce,
            is_paid=self._is_paid,
            worker=self.name,
            lease_s=settings.lease_s,
            max_attempts=settings.max_attempts,
        )

    def run_job(self, job_id: str) -> None:
        run_job(job_id, self._studio)

    def start(self) -> None:
        """Start the heart and the upkeep."""
        beat_s = self._settings.lease_s / 3
        self._give_sign_of_life()
        for name, every_s, work in (
            ("heart", beat_s, self._beat),
            ("upkeep", min(UPKEEP_EVERY_S, beat_s), self._upkeep.round),
        ):
            thread = threading.Thread(
                target=self._repeat, args=(every_s, work), name=name, daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop both, and close what is open. No job may be running any more."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        try:
            bus.sign_off(self._broker, self.name)
        except redis.RedisError as error:
            log.warning("not signed off", reason=str(error))
        self._storage.close()

    def _repeat(self, every_s: float, work: Callable[[], None]) -> None:
        while not self._stopping.wait(every_s):
            try:
                work()
            except Exception:
                # A heart that stops loses every job: the next round may do better.
                log.exception("round broke", thread=threading.current_thread().name)

    def _beat(self) -> None:
        self._leases.beat()
        self._give_sign_of_life()

    def _give_sign_of_life(self) -> None:
        try:
            bus.give_sign_of_life(self._broker, self.name, lasts_s=self._settings.lease_s)
        except redis.RedisError as error:
            log.warning("no sign of life given", reason=str(error))

    def _announce(self, job_id: str) -> None:
        try:
            bus.announce_finished(self._broker, job_id)
        except redis.RedisError as error:
            log.warning("finished job not announced", job_id=job_id, reason=str(error))

    def _engine_for(self, job: Job) -> Engine:
        try:
            values = self._storage.config.values()
        except SettingsError as error:
            raise Misconfigured(error.detail) from error
        config = self._registry.configure(values, self._settings)
        return self._registry.engines(config, job.request.operation).get(job.engine)

    def _is_paid(self, engine: str) -> bool:
        try:
            return self._registry.driver(engine).paid
        except Misconfigured:
            # Not installed here any more: better not repeated than paid twice.
            return True
