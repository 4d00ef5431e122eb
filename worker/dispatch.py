"""Dispatch: hands the jobs that are next to Celery, and never more than the workers can soon take.

One mechanism for everything that waits: a fair order, a broker that was away, retries that are due,
engines that rest, batches of any length, and a broker that lost its data.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import redis
import structlog

from darkroom import bus
from darkroom.errors import Unavailable
from darkroom.pools import Pool, single
from darkroom.queues import Queues, QueuesAway
from darkroom.watch.meters import meters
from storage.backlog import Backlog, Next

log = structlog.get_logger(__name__)

#: How long a sent job may be without a worker while the queue says that it is gone, in seconds.
LOST_AFTER_S = 10.0

#: How long a sent batch job may be passed over by interactive ones, in seconds.
OVERDUE_AFTER_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """Tops up Celery's queues from the backlog."""

    backlog: Backlog
    #: Where workers give their signs of life.
    broker: "redis.Redis"
    #: What holds the jobs that were handed over.
    queues: Queues
    #: Hands one job's id to its queue. Raises Unavailable.
    send: Callable[[Next], None]
    running_limit: int | None = None
    #: The servers of engines at this moment. Raises Unavailable.
    pools: Callable[[], Callable[[str], Pool]] = lambda: single

    def top_up(self, engines: Iterable[str]) -> None:
        """Send what is next for these engines."""
        # Mostly nothing waits: then nobody needs to be asked who could take it.
        waiting = [each for each in engines if self.backlog.has_unsent(each)]
        if not waiting:
            return
        try:
            staff = bus.staff(self.broker)
            pool_of = self.pools()
            for engine in waiting:
                self._send(
                    self.backlog.take(
                        engine,
                        window=staff.window(engine),
                        running_limit=self.running_limit,
                        pool=pool_of(engine),
                    )
                )
        except redis.RedisError as error:
            log.warning("broker out of reach", reason=str(error))

    def find_lost(self, engines: Iterable[str]) -> None:
        """Put sent jobs back whose ids Celery does not have any more, and give overdue batches
        their turn."""
        try:
            if self.queues.are_new():
                # They are marked last: who dies in between leaves this to the next.
                meters().jobs_resent(self.backlog.put_back_all())
                self.queues.mark()
            for engine in engines:
                lost = self.backlog.put_back_lost(
                    engine,
                    is_queue_empty=self.queues.is_empty(engine),
                    older_than_s=LOST_AFTER_S,
                )
                meters().jobs_resent(lost)
                overdue = self.backlog.take_overdue(engine, older_than_s=OVERDUE_AFTER_S)
                self._send([overdue] if overdue is not None else [])
        except QueuesAway as error:
            # What it holds is unknown, so nothing is lost.
            log.warning("broker out of reach", reason=str(error))

    def _send(self, jobs: Sequence[Next]) -> None:
        unsent = list(jobs)
        try:
            while unsent:
                self.send(unsent[0])
                sent = unsent.pop(0)
                meters().jobs_sent(sent.engine, sent.lane)
        except Unavailable as error:
            log.warning("jobs not sent yet", count=len(unsent), reason=error.detail)
            self.backlog.put_back([each.id for each in unsent])
