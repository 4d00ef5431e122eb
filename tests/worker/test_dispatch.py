"""Dispatch: what is next is sent in order, and what was lost is sent again."""

from collections.abc import Callable

import fakeredis
import pytest
from sqlalchemy import text

from darkroom import bus
from darkroom.domain import Job, Lane
from darkroom.errors import Unavailable
from darkroom.queues import RedisQueues
from storage import Storage
from tests.worker.doubles import OutageDatabase, Queue
from worker.dispatch import LOST_AFTER_S, OVERDUE_AFTER_S, Dispatcher

Submit = Callable[..., Job]
ENGINES = ("scripted",)


def sent_earlier(storage: Storage, *, by_s: float) -> None:
    """As if everything had been sent so much earlier."""
    with storage.database.writing() as connection:
        connection.execute(text("UPDATE jobs SET sent_at = sent_at - :by"), {"by": by_s})


def fill_queue(broker: fakeredis.FakeRedis) -> None:
    """Celery holds an id of the engine."""
    broker.lpush(bus.CELERY_PREFIX + bus.queue_for("scripted"), "a message")


def test_interactive_jobs_are_sent_first(
    dispatcher: Dispatcher, queue: Queue, submit: Submit
) -> None:
    batch = submit(lane=Lane.BATCH)
    interactive = submit(lane=Lane.INTERACTIVE)

    dispatcher.top_up(ENGINES)

    assert [(each.id, each.lane) for each in queue.sent] == [
        (interactive.id, Lane.INTERACTIVE),
        (batch.id, Lane.BATCH),
    ]


def test_a_job_is_sent_once(dispatcher: Dispatcher, queue: Queue, submit: Submit) -> None:
    job = submit()

    dispatcher.top_up(ENGINES)
    dispatcher.top_up(ENGINES)

    assert queue.ids == [job.id]


def test_only_the_engines_that_are_named_get_jobs(
    dispatcher: Dispatcher, queue: Queue, submit: Submit
) -> None:
    submit(engine="paid")
    job = submit(engine="scripted")

    dispatcher.top_up(ENGINES)

    assert queue.ids == [job.id]


def test_without_workers_a_few_jobs_are_sent_for_the_first_that_comes(
    dispatcher: Dispatcher, queue: Queue, submit: Submit
) -> None:
    for _ in range(bus.LEAST_WINDOW + 3):
        submit()

    dispatcher.top_up(ENGINES)

    assert len(queue.sent) == bus.LEAST_WINDOW


def test_more_jobs_are_sent_for_more_workers(
    dispatcher: Dispatcher, queue: Queue, submit: Submit, broker: fakeredis.FakeRedis
) -> None:
    for name, slots in (("a", 4), ("b", 6)):
        bus.give_sign_of_life(broker, bus.Hand(name=name, slots=slots), lasts_s=600)
    for _ in range(20):
        submit()

    dispatcher.top_up(ENGINES)

    assert len(queue.sent) == int(10 * bus.WINDOW_PER_SLOT)


def test_jobs_that_the_queue_did_not_take_are_sent_later(
    dispatcher: Dispatcher, queue: Queue, submit: Submit
) -> None:
    jobs = [submit() for _ in range(3)]

    queue.room = 1
    dispatcher.top_up(ENGINES)
    queue.room = None
    dispatcher.top_up(ENGINES)

    assert sorted(queue.ids) == sorted(each.id for each in jobs)


def test_jobs_wait_while_the_broker_is_away(
    dispatcher: Dispatcher, queue: Queue, submit: Submit, redis_server: fakeredis.FakeServer
) -> None:
    job = submit()

    redis_server.connected = False
    dispatcher.top_up(ENGINES)
    dispatcher.find_lost(ENGINES)
    redis_server.connected = True
    dispatcher.top_up(ENGINES)

    assert queue.ids == [job.id]


def test_what_an_empty_queue_lost_is_sent_again(
    storage: Storage, dispatcher: Dispatcher, queue: Queue, submit: Submit
) -> None:
    dispatcher.find_lost(ENGINES)
    job = submit()
    dispatcher.top_up(ENGINES)

    sent_earlier(storage, by_s=LOST_AFTER_S + 1)
    dispatcher.find_lost(ENGINES)
    dispatcher.top_up(ENGINES)

    assert queue.ids == [job.id, job.id]


def test_what_was_sent_just_now_is_not_lost_yet(
    dispatcher: Dispatcher, queue: Queue, submit: Submit
) -> None:
    dispatcher.find_lost(ENGINES)
    job = submit()
    dispatcher.top_up(ENGINES)

    dispatcher.find_lost(ENGINES)
    dispatcher.top_up(ENGINES)

    assert queue.ids == [job.id]


@pytest.mark.parametrize("priority", bus.PRIORITIES)
def test_what_the_queue_still_holds_is_not_lost(
    storage: Storage,
    dispatcher: Dispatcher,
    queue: Queue,
    submit: Submit,
    broker: fakeredis.FakeRedis,
    priority: int,
) -> None:
    dispatcher.find_lost(ENGINES)
    job = submit()
    dispatcher.top_up(ENGINES)
    suffix = f"{bus.SEPARATOR}{priority}" if priority else ""
    broker.lpush(bus.CELERY_PREFIX + bus.queue_for("scripted") + suffix, "a message")

    sent_earlier(storage, by_s=LOST_AFTER_S + 1)
    dispatcher.find_lost(ENGINES)
    dispatcher.top_up(ENGINES)

    assert queue.ids == [job.id]


def test_everything_is_sent_again_to_a_redis_that_lost_its_data(
    storage: Storage,
    dispatcher: Dispatcher,
    queue: Queue,
    submit: Submit,
    broker: fakeredis.FakeRedis,
) -> None:
    dispatcher.find_lost(ENGINES)
    waiting, busy = submit(), submit()
    dispatcher.top_up(ENGINES)
    storage.attempts.claim(busy.id, worker="w1", lease_s=30)
    queue.sent.clear()

    broker.flushall()
    dispatcher.find_lost(ENGINES)
    dispatcher.find_lost(ENGINES)
    dispatcher.top_up(ENGINES)

    assert queue.ids == [waiting.id]


def test_the_loss_is_not_forgotten_when_the_database_is_away_too(
    dispatcher: Dispatcher,
    queue: Queue,
    submit: Submit,
    broker: fakeredis.FakeRedis,
    database: OutageDatabase,
) -> None:
    dispatcher.find_lost(ENGINES)
    job = submit()
    dispatcher.top_up(ENGINES)
    broker.flushall()

    database.is_away = True
    with pytest.raises(Unavailable):
        dispatcher.find_lost(ENGINES)
    database.is_away = False
    dispatcher.find_lost(ENGINES)
    dispatcher.top_up(ENGINES)

    assert queue.ids == [job.id, job.id]


def test_a_batch_that_was_passed_over_for_long_is_sent_as_interactive(
    storage: Storage,
    dispatcher: Dispatcher,
    queue: Queue,
    submit: Submit,
    broker: fakeredis.FakeRedis,
) -> None:
    dispatcher.find_lost(ENGINES)
    fill_queue(broker)
    job = submit(lane=Lane.BATCH)
    dispatcher.top_up(ENGINES)

    sent_earlier(storage, by_s=OVERDUE_AFTER_S + 1)
    dispatcher.find_lost(ENGINES)

    assert [(each.id, each.lane) for each in queue.sent] == [
        (job.id, Lane.BATCH),
        (job.id, Lane.INTERACTIVE),
    ]


def test_an_overdue_batch_that_the_queue_did_not_take_is_sent_later(
    storage: Storage,
    dispatcher: Dispatcher,
    queue: Queue,
    submit: Submit,
    broker: fakeredis.FakeRedis,
) -> None:
    dispatcher.find_lost(ENGINES)
    fill_queue(broker)
    job = submit(lane=Lane.BATCH)
    dispatcher.top_up(ENGINES)
    sent_earlier(storage, by_s=OVERDUE_AFTER_S + 1)

    queue.room = 0
    dispatcher.find_lost(ENGINES)
    queue.room = None
    dispatcher.top_up(ENGINES)

    assert queue.ids == [job.id, job.id]


def test_a_user_has_no_more_running_than_the_limit(
    storage: Storage, broker: fakeredis.FakeRedis, queue: Queue, submit: Submit
) -> None:
    limited = Dispatcher(
        backlog=storage.backlog,
        broker=broker,
        queues=RedisQueues(broker),
        send=queue.send,
        running_limit=2,
    )
    for _ in range(5):
        submit()

    limited.top_up(ENGINES)

    assert len(queue.sent) == 2
