"""One worker process: what it opens when it starts, and the threads beside its jobs.

The *heart* renews leases and gives signs of life, the *ears* hear of cancels, the *survey* learns
what the servers of an engine offer, and the *upkeep* does what nobody else would.
"""

import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection

import redis
import structlog

from darkroom import bus
from darkroom.configuration import ImagesConfig
from darkroom.domain import Job, Operation
from darkroom.errors import (
    EngineUnreachable,
    KeysUnreadable,
    LeaseLost,
    Misconfigured,
    OutcomeUnknown,
    Unavailable,
)
from darkroom.queues import open_queues
from darkroom.settings import Settings
from darkroom.watch import failures
from darkroom.watch.exporter import Exporter
from darkroom.watch.meters import meters
from engines.base import Engine
from engines.catalog import Catalog
from engines.registry import Engines, Pools, Registry
from storage import open_storage
from storage.backlog import Next
from storage.retention import Limits
from worker.aftermath import Aftermath
from worker.dispatch import Dispatcher
from worker.fallback import Fallbacks
from worker.generation import Studio, run_job
from worker.leases import Leases
from worker.outcomes import Policy
from worker.upkeep import Upkeep

log = structlog.get_logger(__name__)

#: Longest time between two rounds of upkeep, in seconds.
UPKEEP_EVERY_S = 2.0

#: How often the servers of an engine that has several are asked what they offer, at most, in
#: seconds: `Listings` keeps an answer for longer.
SURVEY_EVERY_S = 5.0

#: How long a cancel may go unheard, in seconds.
LISTEN_EVERY_S = 1.0


class WorkerProcess:
    """Everything a worker process holds open."""

    def __init__(
        self,
        settings: Settings,
        send: Callable[[Next], None],
        *,
        engines: Collection[str] | None = None,
    ) -> None:
        """`engines` are those whose jobs it takes; None for all."""
        self._settings = settings
        self._storage = open_storage(settings)
        self._broker = bus.connect(settings)
        self._queues = open_queues(settings, self._broker)
        self._registry = Registry(Catalog.load(settings.model_catalog, currency=settings.currency))
        self._stopping = threading.Event()
        #: Set once the running jobs were handed back: nobody waits for anything any more.
        self._gave_up = threading.Event()
        self._threads: list[threading.Thread] = []
        self._upkeep_every_s = min(UPKEEP_EVERY_S, settings.lease_s / 3)
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._hand = bus.Hand(
            name=self.name,
            slots=settings.worker_concurrency,
            engines=None if engines is None else frozenset(engines),
        )
        self._exporter = Exporter(settings)
        self._leases = Leases(self._storage.attempts, worker=self.name, lease_s=settings.lease_s)
        self._dispatcher = Dispatcher(
            backlog=self._storage.backlog,
            broker=self._broker,
            queues=self._queues,
            send=send,
            running_limit=settings.max_running_per_user,
            pools=lambda: self._pools().whole,
        )
        self._aftermath = Aftermath(
            storage=self._storage,
            policy=Policy(
                max_attempts=settings.max_attempts,
                patience_s=settings.retry_for_s,
                repeat_paid=settings.repeat_paid_calls,
            ),
            fallbacks=Fallbacks(
                models=settings.fallback_models or {},
                engines=self._engines,
                health=self._storage.health,
                price=self._registry.price,
                limits=self._storage.users.limits_of,
            ),
            driver=self._registry.driver,
            pool_of=lambda engine, operation: self._pools().of(engine, operation),
        )
        self._studio = Studio(
            storage=self._storage,
            leases=self._leases,
            engine_for=self._engine_for,
            announce=self._announce,
            announce_change=self._announce_change,
            aftermath=self._aftermath,
            top_up=self._top_up,
            price=self._registry.price,
            pools=lambda: self._pools().of,
            timeout_s=settings.job_timeout_s,
            pause=self._gave_up.wait,
        )
        self._upkeep = Upkeep(
            storage=self._storage,
            broker=self._broker,
            dispatcher=self._dispatcher,
            aftermath=self._aftermath,
            engine=self._server,
            pools=lambda: self._pools().whole,
            serves=self._hand.serves,
            engine_names=self._registry.names,
            announce=self._announce,
            announce_change=self._announce_change,
            worker=self.name,
            lease_s=settings.lease_s,
            limits=Limits(
                days=settings.keep_images_days, mb_per_user=settings.keep_images_mb_per_user
            ),
            keep_audit_days=settings.keep_audit_days,
            every_s=self._upkeep_every_s,
        )

    def run_job(self, job_id: str) -> None:
        structlog.contextvars.clear_contextvars()
        # Also around an attempt, where more ids are known; one exception is reported once.
        with structlog.contextvars.bound_contextvars(job_id=job_id), failures.reported():
            run_job(job_id, self._studio)

    def start(self) -> None:
        """Start the threads."""
        self._exporter.see_to_it()
        meters().leases_may_be_lost(self._registry.names())
        self._give_sign_of_life()
        for name, every_s, work in (
            ("heart", self._settings.lease_s / 3, self._beat),
            ("ears", LISTEN_EVERY_S, self._leases.look_for_cancels),
            ("upkeep", self._upkeep_every_s, self._upkeep.round),
            ("survey", SURVEY_EVERY_S, self._survey),
        ):
            thread = threading.Thread(
                target=self._repeat, args=(every_s, work), name=name, daemon=True
            )
            thread.start()
            if work != self._survey:
                # It may wait for a server that does not answer, and keeps nothing.
                self._threads.append(thread)

    def wind_down(self) -> None:
        """No new job comes: let those that run finish within `stop_s`, then hand them back."""
        threading.Thread(target=self._wind_down, name="wind-down", daemon=True).start()

    def stop(self) -> None:
        """Stop all threads, and close what is open. No job may be running any more."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        try:
            bus.sign_off(self._broker, self._hand)
        except redis.RedisError as error:
            log.warning("not signed off", reason=str(error))
        self._exporter.stop()
        self._queues.close()
        self._storage.close()

    def _wind_down(self) -> None:
        limit = time.monotonic() + self._settings.stop_s
        while self._leases.held() and time.monotonic() < limit:
            self._stopping.wait(0.05)
        # First, because those that wait for storage let go of their leases once they are told.
        unfinished = self._leases.close()
        self._gave_up.set()
        for lease in unfinished:
            job = lease.job
            log.warning("job handed back", job_id=job.id)
            try:
                is_finished = self._aftermath.interrupted(job)
            except Unavailable as error:
                # Its lease runs out, and another worker does the same.
                log.warning("job not handed back", job_id=job.id, reason=error.detail)
                continue
            lease.end(LeaseLost("This worker is stopping."))
            (self._announce if is_finished else self._announce_change)(job.id)
            self._top_up(job.engine)

    def _repeat(self, every_s: float, work: Callable[[], None]) -> None:
        try:
            with failures.reported():
                while not self._stopping.wait(every_s):
                    work()
        finally:
            if not self._stopping.is_set():
                # Without its heart it would lose every job. It ends, and is started anew.
                log.critical("worker breaks", exc_info=True)
                os.kill(os.getpid(), signal.SIGTERM)

    def _beat(self) -> None:
        self._upkeep.notice_sleep()
        self._leases.beat()
        self._give_sign_of_life()
        self._exporter.see_to_it()

    def _give_sign_of_life(self) -> None:
        try:
            bus.give_sign_of_life(self._broker, self._hand, lasts_s=self._settings.lease_s)
        except redis.RedisError as error:
            log.warning("no sign of life given", reason=str(error))

    def _announce(self, job_id: str) -> None:
        try:
            bus.announce_finished(self._broker, job_id)
        except redis.RedisError as error:
            log.warning("finished job not announced", job_id=job_id, reason=str(error))

    def _announce_change(self, job_id: str) -> None:
        try:
            bus.announce_changed(self._broker, job_id)
        except redis.RedisError as error:
            log.warning("changed job not announced", job_id=job_id, reason=str(error))

    def _top_up(self, engine: str) -> None:
        try:
            self._dispatcher.top_up([engine])
        except Unavailable as error:
            log.warning("nothing dispatched", reason=error.detail)

    def _survey(self) -> None:
        """Learn which server of several has which models. Jobs do not wait for it."""
        try:
            config = self._config()
        except (Misconfigured, Unavailable) as error:
            log.warning("servers not asked what they offer", reason=error.detail)
            return
        servers = {
            id(each): each
            for operation in Operation
            for name, found in self._registry.engines(config, operation).servers.items()
            if len(found) > 1 and self._hand.serves(name)
            for each in found
        }
        self._registry.listings.refresh(servers.values())

    def _server(self, name: str, server: str | None) -> Engine:
        try:
            return self._engines().server(name, server)
        except (EngineUnreachable, Misconfigured):
            # Edits may go elsewhere, and be all that it is set up for.
            editing = self._engines(Operation.EDIT)
            if name not in editing.enabled:
                raise
            return editing.server(name, server)

    def _engine_for(self, job: Job) -> Engine:
        """The server that a job was given to. Raises EngineError."""
        engines = self._engines(job.request.operation)
        try:
            return engines.server(job.engine, job.server)
        except EngineUnreachable as gone:
            pool = engines.pool(job.engine)
            if job.upstream_id is None or not pool.resumes or pool.begins_anew:
                raise
            raise OutcomeUnknown(
                f"{gone.detail} The run that began there may have been charged, so it is not begun"
                " anew. Check the engine's own usage page, then send the request again."
            ) from gone

    def _pools(self) -> Pools:
        """The servers of all engines as they are configured now. Raises Unavailable."""
        try:
            return self._registry.pools(self._config())
        except Misconfigured:
            # Whoever draws meets this too, and says so; the drivers' own limits hold meanwhile.
            return self._registry.pools(self._registry.configure({}, self._settings))

    def _engines(self, operation: Operation = Operation.GENERATE) -> Engines:
        """The engines as they are configured now. Raises Misconfigured."""
        return self._registry.engines(self._config(), operation)

    def _config(self) -> ImagesConfig:
        try:
            values = self._storage.config.values()
        except KeysUnreadable as error:
            raise Misconfigured(error.detail) from error
        return self._registry.configure(values, self._settings)
