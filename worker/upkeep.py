"""Upkeep: what nobody else would do, done by every worker on a timer.

Jobs whose worker died wait again or end; items of batches become jobs; queued jobs are handed to
Celery, those it lost too; jobs past their deadline fail, and so do those that nobody has a driver
for; engines that rest are asked how they are; files that a dead worker left, and pictures that are
kept no longer, are removed.
Every step is a compare-and-set, so several workers doing it at once is safe; a lock in Redis only
spares the work.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle, islice

import redis
import structlog

from darkroom.domain import Job
from darkroom.errors import EngineError, Misconfigured, Unavailable
from darkroom.pools import Pool, of_key, single
from darkroom.watch.meters import meters
from engines.base import Engine
from engines.checkup import ask
from storage import Storage
from storage.retention import Limits
from worker.aftermath import Aftermath, recorded
from worker.dispatch import Dispatcher
from worker.retention import prune_audit, prune_in_turn

log = structlog.get_logger(__name__)

LOCK = "darkroom:upkeep"

#: Held by the worker that asks a server how it is, for so many seconds at most.
VISIT = "darkroom:visit"
VISIT_LASTS_S = 10

#: How many waiting jobs are moved to another engine in one round.
REROUTES_PER_ROUND = 200

#: How many chunks of batches become jobs in one round: more than any engine draws meanwhile.
CHUNKS_PER_ROUND = 8


@dataclass(kw_only=True)
class Upkeep:
    """One worker process's share of the upkeep."""

    storage: Storage
    broker: "redis.Redis"
    dispatcher: Dispatcher
    aftermath: Aftermath
    #: A server of an engine as it is configured now, None where there is no list of them. Raises
    #: Misconfigured, and EngineUnreachable when it is not configured any more.
    engine: Callable[[str, str | None], Engine]
    #: The servers of engines at this moment. Raises Unavailable.
    pools: Callable[[], Callable[[str], Pool]] = lambda: single
    #: Whether this worker draws for an engine: then it can reach it.
    serves: Callable[[str], bool] = lambda engine: True
    #: All engines that have a driver.
    engine_names: Callable[[], tuple[str, ...]]
    #: Tells whoever waits that a job is finished, or whoever follows it that it changed.
    announce: Callable[[str], None]
    announce_change: Callable[[str], None]
    worker: str
    lease_s: float
    limits: Limits
    #: Age at which entries of the audit log are removed, in days.
    keep_audit_days: float = 365.0
    #: The pause between two rounds, in seconds.
    every_s: float
    #: The wall clock, because leases run out by it: it goes on while a machine sleeps.
    clock: Callable[[], float] = time.time
    #: Not before this (monotonic seconds) are leases called expired: while the database was away
    #: or the machine slept nobody could renew them, which may have been just before we started.
    _trust_leases_from: float = field(init=False)
    #: The batch that became jobs last.
    _planted_last: str = field(init=False, default="")
    #: When the next round should begin, by `clock`.
    _due_at: float = field(init=False)
    #: When this process was last known to be awake, by `clock`.
    _awake_at: float = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._distrust_leases()
        self._awake_at = self.clock()
        self._due_at = self._awake_at + self.every_s

    def notice_sleep(self) -> None:
        """Give leases time when nobody called this for long: then this process slept, or all did.

        Called with each beat of the heart, and before a lease is called expired. A round that is
        stopped in its middle does not see it otherwise, and the one after it begins in time.
        """
        with self._lock:
            beat_at = self._awake_at + self.lease_s / 3
            self._awake_at = self.clock()
            self._distrust_if_late(beat_at)

    def round(self) -> None:
        """Do everything once."""
        started = time.monotonic()
        try:
            # Before the turn: an outage or a sleep counts for those who have none, too.
            self.storage.database.check()
            self._distrust_if_late(self._due_at)
            # Not everybody may be able to reach a server.
            self._visit_the_sick()
            if not self._has_turn():
                return
            began = self.clock()
            expired = self.storage.jobs.expire()
            # Who locked the database for so long kept everybody from renewing.
            self._distrust_if_late(began)
            for job_id in expired:
                self.announce(job_id)
            self._recover()
            self._reroute_from_the_sick()
            self._give_up_on_missing_drivers()
            self._finish_canceling()
            self._plant()
            self.dispatcher.find_lost(self.engine_names())
            self.dispatcher.top_up(self.engine_names())
            began = self.clock()
            self.storage.gallery.release_abandoned()
            self.storage.inputs.release()
            self.storage.documents.delete_expired()
            prune_in_turn(self.storage, self.broker, self.limits)
            prune_audit(self.storage, self.broker, days=self.keep_audit_days)
            # So do we, when the store is slow: files are deleted while the database is locked.
            self._distrust_if_late(began)
            meters().upkeep_ended("done", time.monotonic() - started)
        except Unavailable as error:
            meters().upkeep_ended(error.code, time.monotonic() - started)
            log.warning("upkeep put off", reason=error.detail)
            self._distrust_leases()
        finally:
            self._due_at = self.clock() + self.every_s

    def _distrust_if_late(self, due_at: float) -> None:
        """Hearts beat every third of a lease, so that being less late than that ends none."""
        if self.clock() - due_at > self.lease_s / 3:
            log.warning("leases are given time", late_s=round(self.clock() - due_at, 1))
            self._distrust_leases()

    def _distrust_leases(self) -> None:
        self._trust_leases_from = time.monotonic() + self.lease_s

    def _has_turn(self) -> bool:
        # Shorter than the pause, so that whoever had it last is not kept from its next one.
        lasts_s = self.every_s * 0.8
        try:
            return bool(self.broker.set(LOCK, self.worker, nx=True, px=int(lasts_s * 1000)))
        except redis.RedisError:
            # Leases must be recovered without a broker too.
            return True

    def _recover(self) -> None:
        """Decide what becomes of jobs whose worker gave no sign of life."""
        lost = self.storage.attempts.with_expired_lease()
        self.notice_sleep()
        if time.monotonic() < self._trust_leases_from:
            return
        for job in lost:
            is_finished = self.aftermath.lost(job)
            if not is_finished and self.storage.jobs.get(job.id).worker == job.worker:
                # It renewed its lease, or ended the job itself, since we looked.
                continue
            log.warning("lease expired", job_id=job.id, attempt=job.attempt, lost=job.worker)
            (self.announce if is_finished else self.announce_change)(job.id)
            self._drop_preview(job)

    def _drop_preview(self, job: Job) -> None:
        """Also when the job is tried again: that attempt may show none."""
        try:
            self.storage.gallery.drop_preview(job.id)
        except Unavailable as error:
            log.warning("preview not dropped", job_id=job.id, reason=error.detail)

    def _plant(self) -> None:
        """Turn items of batches into jobs, of one batch after the other."""
        batches = self.storage.batches
        waiting = deque(batches.unplanted())
        if self._planted_last in waiting:
            # Behind the one that had the last turn, so that each has one.
            waiting.rotate(-1 - waiting.index(self._planted_last))
        for batch_id in islice(cycle(waiting), CHUNKS_PER_ROUND):
            batches.plant(batch_id)
            self._planted_last = batch_id

    def _finish_canceling(self) -> None:
        for job_id in self.storage.batches.finish_canceling():
            self.announce_change(job_id)

    def _give_up_on_missing_drivers(self) -> None:
        """Fail jobs that wait for an engine whose driver was uninstalled.

        Not at once, and not while another worker draws for it: that one has the driver.
        """
        backlog, patience_s = self.storage.backlog, self.aftermath.policy.patience_s
        for engine in backlog.unattended(self.engine_names(), for_s=patience_s):
            missing = Misconfigured(
                f"No worker has a driver for engine {engine!r}: install it again, then retry the"
                " job."
            )
            for job_id in self.storage.jobs.give_up_waiting(
                engine, recorded(missing), after_s=patience_s
            ):
                log.warning("no driver", job_id=job_id, engine=engine)
                self.announce(job_id)

    def _visit_the_sick(self) -> None:
        """Ask engines whose rest is over how they are; meanwhile others may draw for them."""
        for key in self.storage.health.due_for_check():
            name, server = of_key(key)
            if self.serves(name) and self._may_visit(key):
                self._visit(key, name, server)

    def _visit(self, key: str, name: str, server: str | None) -> None:
        if all(each != key for each in self.pools()(name).keys):
            # Its list of servers was changed: it is nobody's business any more.
            self.storage.health.forget_one(key)
            return
        try:
            ask(self.engine(name, server))
        except EngineError as error:
            self.storage.health.note_failure(key, code=error.code, reason=error.detail)
            log.warning("engine still rests", engine=key, reason=error.detail)
        else:
            self.storage.health.forget_one(key)
            log.info("engine works again", engine=key)

    def _may_visit(self, key: str) -> bool:
        """Whether nobody else is there just now."""
        try:
            return bool(self.broker.set(f"{VISIT}:{key}", self.worker, nx=True, ex=VISIT_LASTS_S))
        except redis.RedisError:
            return True

    def _reroute_from_the_sick(self) -> None:
        """Let jobs wait for another model where all servers of their engine rest."""
        resting = self.storage.health.resting()
        pool_of = self.pools()
        for engine in sorted({of_key(key)[0] for key in resting}):
            pool = pool_of(engine)
            if pool.rests(resting):
                self._reroute_waiting(engine, resting[pool.keys[0]].code)

    def _reroute_waiting(self, engine: str, reason: str) -> None:
        fallbacks = self.aftermath.fallbacks
        models = fallbacks.covered(engine)
        if not models:
            return
        for job in self.storage.jobs.waiting_for(engine, models, limit=REROUTES_PER_ROUND):
            other = fallbacks.find(job, reason)
            if other is not None and self.storage.jobs.reroute_waiting(
                job,
                engine=other.engine,
                model=other.model,
                request=other.request,
                warning=other.warning,
                estimated_cost=other.estimated_cost,
            ):
                self.announce_change(job.id)
