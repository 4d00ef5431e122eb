"""The gauges, read from the database and Redis whenever they are asked for.

None of them is counted in a process, so that it does not matter which of several API processes
answers. What happens in processes is counted in `darkroom.watch.meters`.
"""

import shutil
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.services import Services
from darkroom import __version__, bus
from darkroom.domain import JobStatus, Lane
from darkroom.errors import Unavailable
from darkroom.pools import health_key
from darkroom.queues import QueuesAway

UNFINISHED = [each for each in JobStatus if not each.is_finished]


class Gauges(Collector):
    """What is true at this moment. What nobody knows, because a part is away, is left out."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._engines = set(services.registry.names())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        build = GaugeMetricFamily("darkroom_build", "What runs here; always 1.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        found = self._services.looks.at(
            {
                "database": self._has_database,
                "jobs": self._from_database,
                "workers": self._from_redis,
                "broker": self._has_queues,
                "files": self._has_store,
            }
        )
        # None is what did not answer in time.
        yield from found["jobs"] or []
        yield from found["workers"] or []
        yield from self._room()
        up = GaugeMetricFamily(
            "darkroom_part_up", "1 when a part of Darkroom answers.", labels=["part"]
        )
        up.add_metric(["database"], bool(found["database"]))
        up.add_metric(["broker"], bool(found["broker"]))
        if self._services.settings.broker_url:
            up.add_metric(["redis"], bool(found["workers"]))
        up.add_metric(["store"], bool(found["files"]))
        yield up

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())

    def _from_database(self) -> list[GaugeMetricFamily]:
        try:
            return [self._jobs(), self._longest_waits(), *self._resting()]
        except Unavailable:
            return []

    def _from_redis(self) -> list[GaugeMetricFamily]:
        try:
            staff = bus.staff(self._services.broker)
        except redis.RedisError:
            return []
        served = GaugeMetricFamily(
            "darkroom_engine_worker_slots",
            "Jobs of each engine that they can run at once; its jobs wait while it is 0.",
            labels=["engine"],
        )
        for engine in sorted(self._engines):
            served.add_metric([engine], staff.slots(engine))
        return [
            GaugeMetricFamily(
                "darkroom_workers", "Living worker processes.", value=len(staff.hands)
            ),
            GaugeMetricFamily(
                "darkroom_worker_slots",
                "Jobs that they can run at once.",
                value=sum(each.slots for each in staff.hands),
            ),
            served,
        ]

    def _has_database(self) -> bool:
        try:
            self._services.storage.database.check()
        except Unavailable:
            return False
        return True

    def _has_queues(self) -> bool:
        try:
            self._services.queues.describe()
        except QueuesAway:
            return False
        return True

    def _has_store(self) -> bool:
        try:
            self._services.storage.gallery.check()
        except Unavailable:
            return False
        return True

    def _room(self) -> Iterable[GaugeMetricFamily]:
        """Of folders only: who keeps objects knows how many there may be."""
        settings = self._services.settings
        store = urlsplit(settings.storage)
        folders = {"data": settings.data_dir}
        if store.scheme == "file":
            folders["pictures"] = Path(unquote(store.path))
        free = GaugeMetricFamily(
            "darkroom_disk_free_bytes", "Room left on the disk of a folder.", labels=["folder"]
        )
        for name, folder in folders.items():
            try:
                free.add_metric([name], shutil.disk_usage(folder).free)
            except OSError:
                continue
        return [free]

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

    def _resting(self) -> list[GaugeMetricFamily]:
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
        return [family, servers, running]
