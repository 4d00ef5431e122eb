"""The gauges, read from the database and Redis whenever they are asked for.

Nothing is counted in a process, so that it does not matter which of several API processes answers.
"""

from collections.abc import Iterator
from itertools import product

import redis
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.services import Services
from darkroom import bus
from darkroom.domain import JobStatus, Lane
from darkroom.pools import health_key

UNFINISHED = [each for each in JobStatus if not each.is_finished]


class Gauges(Collector):
    """What is true at this moment. Raises Unavailable when the database does not answer."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._engines = set(services.registry.names())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield self._jobs()
        yield self._longest_waits()
        yield from self._resting()
        yield from self._workers()
        yield GaugeMetricFamily(
            "darkroom_waiting_calls",
            "Calls that wait in the API process that answers this one.",
            value=self._services.waiter.held,
        )

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())

    def _jobs(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "darkroom_jobs", "Unfinished jobs.", labels=["engine", "lane", "status"]
        )
        counts = self._services.storage.backlog.counts()
        engines = self._engines | {engine for engine, _, _ in counts}
        for engine, lane, status in product(sorted(engines), Lane, UNFINISHED):
            family.add_metric(
                [engine, lane.name.lower(), status], counts.get((engine, lane, status), 0)
            )
        return family

    def _longest_waits(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "darkroom_oldest_waiting_seconds",
            "How long ago the oldest queued job was accepted; 0 when none is queued.",
            labels=["engine", "lane"],
        )
        waits = self._services.storage.outlook.longest_waits_s()
        engines = self._engines | {engine for engine, _ in waits}
        for engine, lane in product(sorted(engines), Lane):
            family.add_metric([engine, lane.name.lower()], waits.get((engine, lane), 0.0))
        return family

    def _resting(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "darkroom_engine_resting",
            "1 while an engine that failed again and again is left alone.",
            labels=["engine"],
        )
        servers = GaugeMetricFamily(
            "darkroom_server_resting",
            "The same of each server, of engines that have several.",
            labels=["engine", "server"],
        )
        running = GaugeMetricFamily(
            "darkroom_server_running",
            "Jobs that each server of an engine with several is busy with.",
            labels=["engine", "server"],
        )
        storage = self._services.storage
        resting, pools = storage.health.resting(), self._services.pools()
        for engine in sorted(self._engines):
            pool = pools.whole(engine)
            family.add_metric([engine], pool.rests(resting))
            named = [each.server for each in pool.places if each.server is not None]
            busy = storage.outlook.running_by_server(engine) if named else {}
            for server in named:
                servers.add_metric([engine, server], health_key(engine, server) in resting)
                running.add_metric([engine, server], busy.get(server, 0))
        yield from (family, servers, running)

    def _workers(self) -> Iterator[GaugeMetricFamily]:
        """Left out while Redis is away: nobody knows."""
        broker = self._services.broker
        try:
            staff = bus.staff(broker)
        except redis.RedisError:
            return
        yield GaugeMetricFamily(
            "darkroom_workers", "Living worker processes.", value=len(staff.hands)
        )
        yield GaugeMetricFamily(
            "darkroom_worker_slots",
            "Jobs that they can run at once.",
            value=sum(each.slots for each in staff.hands),
        )
        served = GaugeMetricFamily(
            "darkroom_engine_worker_slots",
            "Jobs of each engine that they can run at once; its jobs wait while it is 0.",
            labels=["engine"],
        )
        for engine in sorted(self._engines):
            served.add_metric([engine], staff.slots(engine))
        yield served
