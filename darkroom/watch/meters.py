"""What is counted where it happens, for Prometheus.

Labels come from sets that an admin or our own code bounds: engines, routes, lanes, codes of errors.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from darkroom.domain import Job, Lane
from darkroom.settings import Settings, name_metrics_folder
from darkroom.watch.slots import FOLDER, Slot, forget_the_dead, take_slot

#: Upper ends of the histograms' buckets, in seconds: of what should be quick, and of what may take
#: as long as a picture does.
QUICK_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 300)
SLOW_S = (0.05, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45, 90, 180, 450, 900, 3600)

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Meters:
    """Everything that is counted. Safe to use from several threads."""

    def __init__(self, folder: Path | None = None, slot: Slot | None = None) -> None:
        """In this process alone, or in a folder that several share."""
        self._folder = folder
        self._slot = slot
        self._registry = own = CollectorRegistry()
        values.ValueClass = (
            values.MutexValue
            if slot is None
            else values.MultiProcessValue(process_identifier=lambda: slot.number)
        )

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"darkroom_{name}", help_, labels, registry=own)

        def seconds(name: str, help_: str, ends: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"darkroom_{name}_seconds", help_, labels, buckets=ends, registry=own)

        self._requests = counter("http_requests", "Requests.", "method", "route", "status")
        self._request_seconds = seconds(
            "http_request", "How long requests took.", QUICK_S, "method", "route"
        )
        self._waiting = Gauge(
            "darkroom_waiting_calls",
            "Calls that wait for pictures.",
            multiprocess_mode="livesum",
            registry=own,
        )
        self._accepted = counter("jobs_accepted", "Accepted jobs.", "engine", "lane")
        self._sent = counter("jobs_sent", "Jobs handed to Celery.", "engine", "lane")
        self._lost = counter("jobs_resent", "Sent jobs that Celery lost, and that wait again.")
        self._wait_seconds = seconds(
            "job_wait", "From accepted to first started.", SLOW_S, "engine", "lane"
        )
        self._job_seconds = seconds("job", "From accepted to succeeded.", SLOW_S, "engine", "lane")
        self._ended = counter("jobs_ended", "Finished jobs.", "engine", "outcome")
        self._attempts = counter("attempts", "Ended attempts.", "engine", "outcome")
        self._attempt_seconds = seconds("attempt", "How long attempts took.", SLOW_S, "engine")
        self._engine_seconds = seconds(
            "engine", "How long engines drew.", SLOW_S, "engine", "server", "outcome"
        )
        self._call_seconds = seconds(
            "engine_call",
            "How long HTTP calls to engines took.",
            QUICK_S,
            "engine",
            "server",
            "method",
            "outcome",
        )
        self._images = counter("images_stored", "Pictures drawn and kept.", "engine")
        self._bytes = counter("image_bytes_stored", "Their bytes.", "engine")
        self._upkeep_seconds = seconds("upkeep", "Rounds of upkeep.", QUICK_S, "outcome")
        self._outages = counter("outages", "Calls a part of Darkroom did not answer.", "part")
        for part in ("database", "broker", "redis", "store"):
            # Shown from the start: a rise from nothing is no rise for Prometheus.
            self._outages.labels(part)

    def add_to(self, registry: CollectorRegistry) -> None:
        """Let a registry show what was counted, by all processes that share the folder."""
        if self._folder is None:
            registry.register(_Copy(self._registry))
            return
        forget_the_dead(self._folder)
        MultiProcessCollector(registry, path=str(self._folder))

    def request_ended(self, *, method: str, route: str, status: int, took_s: float) -> None:
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(took_s)

    def calls_wait(self, count: int) -> None:
        self._waiting.set(count)

    def jobs_accepted(self, engine: str, lane: Lane, count: int = 1) -> None:
        self._accepted.labels(engine, lane.name.lower()).inc(count)

    def jobs_sent(self, engine: str, lane: Lane, count: int = 1) -> None:
        self._sent.labels(engine, lane.name.lower()).inc(count)

    def jobs_resent(self, count: int) -> None:
        self._lost.inc(count)

    def job_started(self, job: Job) -> None:
        if job.attempt == 1 and job.started_at is not None:
            waited_s = max(job.started_at - job.created_at, 0.0)
            self._wait_seconds.labels(job.engine, job.lane.name.lower()).observe(waited_s)

    def job_succeeded(self, job: Job, sizes_bytes: Sequence[int]) -> None:
        """The job has its pictures, of these sizes, now."""
        took_s = max(time.time() - job.created_at, 0.0)
        self._job_seconds.labels(job.engine, job.lane.name.lower()).observe(took_s)
        self._images.labels(job.engine).inc(len(sizes_bytes))
        self._bytes.labels(job.engine).inc(sum(sizes_bytes))

    def jobs_ended(self, engine: str, outcome: str, count: int = 1) -> None:
        self._ended.labels(engine, outcome).inc(count)

    def attempt_ended(self, engine: str, outcome: str) -> None:
        self._attempts.labels(engine, outcome).inc()

    def leases_may_be_lost(self, engines: Iterable[str]) -> None:
        """Show from the start what these lost: a rise from nothing is no rise for Prometheus."""
        for each in engines:
            self._attempts.labels(each, "lease_lost")

    def attempt_took(self, engine: str, took_s: float) -> None:
        self._attempt_seconds.labels(engine).observe(took_s)

    def engine_drew(self, engine: str, server: str, outcome: str, took_s: float) -> None:
        self._engine_seconds.labels(engine, server, outcome).observe(took_s)

    def engine_called(
        self, engine: str, server: str, method: str, outcome: str, took_s: float
    ) -> None:
        self._call_seconds.labels(engine, server, method, outcome).observe(took_s)

    def upkeep_ended(self, outcome: str, took_s: float) -> None:
        self._upkeep_seconds.labels(outcome).observe(took_s)

    def is_away(self, part: str) -> None:
        """The `database`, `broker`, `redis` (where that is another) or `store` did not answer."""
        self._outages.labels(part).inc()


class _Copy:
    """Shows in one registry what another holds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.collect: Callable[[], Any] = registry.collect


_meters: Meters | None = None


def meters() -> Meters:
    """This process's meters."""
    return _meters or _use(Meters())


def share_meters(settings: Settings) -> Meters:
    """Count together with the other processes of this data folder, from now on.

    Call it once per process, after any fork. Raises OSError when the folder cannot be written.
    """
    folder = settings.data_dir.absolute() / FOLDER
    slot = take_slot(folder)
    name_metrics_folder(folder)
    return _use(Meters(folder, slot))


def _use(made: Meters) -> Meters:
    global _meters
    _meters = made
    return made
