"""A database that is away for ten seconds costs no accepted job, and repeats none."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import pytest
import requests

from darkroom.domain import JobStatus
from tests.backends.choice import only_embedded, only_shared, required_postgresql
from tests.backends.postgresql import PostgreSQL
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

AWAY_S = 10.0
CALLERS = 8

#: Less than the database is away: nobody can renew a lease meanwhile, and nobody may conclude from
#: that that the worker is dead.
LEASE_S = 2.0


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    """A foreign program holds SQLite's write lock, as a careless backup would."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def _stopped(server: PostgreSQL) -> Iterator[None]:
    server.stop()
    yield
    server.start()


@only_embedded
@pytest.mark.timeout(150)
def test_a_locked_sqlite_is_waited_for_or_said_clearly(tmp_path: Path) -> None:
    # Several, so that some of them look at the leases for the first time after these ran out.
    with Cluster(
        tmp_path,
        workers=5,
        worker_concurrency=2,
        builtin_latency_s=0.5,
        lease_s=LEASE_S,
    ) as cluster:
        with _load(cluster) as answers, _locked(tmp_path / "data" / "darkroom.db"):
            Event().wait(AWAY_S)

        _assert_nothing_is_lost_or_repeated(cluster, answers)


@only_shared
@pytest.mark.timeout(150)
def test_a_postgresql_that_restarts_is_waited_for_or_said_clearly(tmp_path: Path) -> None:
    # One of its own: all other tests share theirs.
    with (
        PostgreSQL(required_postgresql()) as postgresql,
        Cluster(
            tmp_path,
            workers=2,
            database_url=postgresql.new_database("darkroom"),
            worker_concurrency=4,
            builtin_latency_s=0.5,
            lease_s=LEASE_S,
        ) as cluster,
    ):
        with _load(cluster) as answers, _stopped(postgresql):
            Event().wait(AWAY_S)

        _assert_nothing_is_lost_or_repeated(cluster, answers)


@contextmanager
def _load(cluster: Cluster) -> Iterator[list[requests.Response]]:
    """Callers that ask again and again, some patiently and some not, until well after the block."""
    answers: list[requests.Response] = []
    enough = Event()

    def ask(caller: int) -> None:
        headers = {"Prefer": "respond-async"} if caller % 2 else {}
        while not enough.is_set():
            answers.append(cluster.generate(headers, prompt=f"ship {len(answers)} of {caller}"))
            enough.wait(0.2)

    with ThreadPoolExecutor(CALLERS) as pool:
        asking = [pool.submit(ask, caller) for caller in range(CALLERS)]
        try:
            until(lambda: cluster.runs_begun() >= 16, "work is under way")
            yield answers
            accepted = len(answers)
            until(lambda: len(answers) > accepted + 2 * CALLERS, "callers are served again")
        finally:
            enough.set()
        for each in asking:
            each.result()


def _assert_nothing_is_lost_or_repeated(cluster: Cluster, answers: list[requests.Response]) -> None:
    refused = [answer for answer in answers if answer.status_code not in {200, 202}]
    for answer in refused:
        assert answer.status_code == 503, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "unavailable"
        assert int(answer.headers["Retry-After"]) > 0
    job_ids = [
        answer.headers["Darkroom-Job"] for answer in answers if answer.status_code in {200, 202}
    ]
    ended = cluster.all_finished(job_ids)
    assert {job.status for job in ended} == {JobStatus.SUCCEEDED}
    assert {len(cluster.storage.images.of_job(job.id)) for job in ended} == {1}
    # A call that was refused may have been accepted all the same; it was drawn once too then.
    until(lambda: not cluster.storage.backlog.counts(), "all jobs are finished")
    assert set(cluster.calls_by_job().values()) == {1}
    cluster.await_no_leftovers()
