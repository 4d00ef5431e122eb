"""Waiting calls are woken by news, by the database when that is lost, and when all stops."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import fakeredis
import pytest
import redis

from api import waiting as waiting_module
from api.waiting import Waiter
from darkroom import bus

PATIENCE_S = 20


class Rows:
    """Stands in for the jobs table: which jobs are finished."""

    def __init__(self) -> None:
        self.finished: set[str] = set()
        self.asked = threading.Event()

    def finished_among(self, job_ids: Collection[str]) -> set[str]:
        found = self.finished & set(job_ids)
        self.asked.set()
        return found


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def broker(server: fakeredis.FakeServer) -> "redis.Redis":
    client: redis.Redis = fakeredis.FakeRedis(server=server, decode_responses=True)
    return client


@contextmanager
def waiter_of(broker: "redis.Redis", rows: Rows, *, capacity: int = 8) -> Iterator[Waiter]:
    waiter = Waiter(subscribe=broker.pubsub, finished_among=rows.finished_among, capacity=capacity)
    yield waiter
    waiter.drain()


def waiting(waiter: Waiter, job_id: str, **options: Any) -> threading.Thread:
    thread = threading.Thread(target=waiter.wait, args=(job_id, PATIENCE_S), kwargs=options)
    thread.start()
    return thread


def ended(thread: threading.Thread) -> bool:
    thread.join(PATIENCE_S / 2)
    return not thread.is_alive()


def test_a_job_that_is_finished_already_is_not_waited_for(
    broker: "redis.Redis", rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "RECHECK_EVERY_S", PATIENCE_S)
    rows.finished.add("a")

    with waiter_of(broker, rows) as waiter:
        assert ended(waiting(waiter, "a"))


def test_news_of_a_job_wakes_who_waits_for_it_and_nobody_else(
    broker: "redis.Redis", rows: Rows
) -> None:
    with waiter_of(broker, rows) as waiter:
        first, second = waiting(waiter, "a"), waiting(waiter, "b")
        while not broker.publish(bus.FINISHED, "nobody"):
            pass  # nobody listens yet
        rows.finished.add("a")
        broker.publish(bus.FINISHED, "a")

        assert ended(first)
        assert second.is_alive()
        waiter.drain()
        assert ended(second)


def test_lost_news_is_made_up_for_by_the_database(broker: "redis.Redis", rows: Rows) -> None:
    with waiter_of(broker, rows) as waiter:
        thread = waiting(waiter, "a")
        assert rows.asked.wait(PATIENCE_S)
        rows.finished.add("a")

        assert ended(thread)


def test_without_redis_the_database_is_asked(
    server: fakeredis.FakeServer, broker: "redis.Redis", rows: Rows
) -> None:
    server.connected = False

    with waiter_of(broker, rows) as waiter:
        thread = waiting(waiter, "a")
        assert rows.asked.wait(PATIENCE_S)
        rows.finished.add("a")

        assert ended(thread)


def test_a_stopping_process_lets_all_its_callers_answer(broker: "redis.Redis", rows: Rows) -> None:
    with waiter_of(broker, rows) as waiter:
        threads = [waiting(waiter, name) for name in "abc"]
        assert rows.asked.wait(PATIENCE_S)

        waiter.drain()

        assert all(ended(thread) for thread in threads)
        with waiter.place() as is_free:
            assert not is_free


def test_a_caller_that_hung_up_is_waited_for_no_longer(broker: "redis.Redis", rows: Rows) -> None:
    with waiter_of(broker, rows) as waiter:
        assert ended(waiting(waiter, "a", is_gone=lambda: True))


def test_places_to_wait_in_are_limited_and_given_back(broker: "redis.Redis", rows: Rows) -> None:
    with waiter_of(broker, rows, capacity=1) as waiter:
        with waiter.place() as first, waiter.place() as second:
            assert (first, second) == (True, False)
        with waiter.place() as third:
            assert third


class TestFollowing:
    """Who follows a job hears of every change, not of its end alone."""

    @pytest.mark.parametrize("channel", [bus.CHANGED, bus.FINISHED])
    def test_news_of_the_job_ends_a_wait(
        self,
        broker: "redis.Redis",
        rows: Rows,
        channel: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(waiting_module, "RECHECK_EVERY_S", PATIENCE_S)
        with waiter_of(broker, rows) as waiter, waiter.follow("a") as following:
            while not broker.publish(channel, "a"):
                pass  # nobody listens yet

            thread = threading.Thread(target=following.wait)
            thread.start()

            assert ended(thread)

    def test_lost_news_cost_no_more_than_a_look_at_the_row(
        self, broker: "redis.Redis", rows: Rows, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting_module, "RECHECK_EVERY_S", 0.01)
        with waiter_of(broker, rows) as waiter, waiter.follow("a") as following:
            following.wait()

            assert not following.is_over

    def test_a_change_does_not_end_the_wait_for_the_end(
        self, broker: "redis.Redis", rows: Rows
    ) -> None:
        with waiter_of(broker, rows) as waiter:
            thread = waiting(waiter, "a")
            with waiter.follow("a") as following:
                while not broker.publish(bus.CHANGED, "a"):
                    pass  # nobody listens yet
                following.wait()

            assert thread.is_alive()
            waiter.drain()
            assert ended(thread)

    def test_a_stopping_process_ends_it(self, broker: "redis.Redis", rows: Rows) -> None:
        with waiter_of(broker, rows) as waiter, waiter.follow("a") as following:
            waiter.drain()

            following.wait()

            assert following.is_over
