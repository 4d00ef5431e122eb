"""OpenAI's dialect: calls that its SDK sends again, without an idempotency key."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from darkroom.settings import Settings
from tests.api.conftest import Answer, Caller, InlineQueue


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, wait_s=0.05)


def ask(caller: Caller, *, attempt: int = 0, **body: Any) -> Answer:
    return caller.post(
        "/v1/images/generations",
        json={"prompt": "a lighthouse", "size": "64x64"} | body,
        headers={"x-stainless-retry-count": str(attempt)},
    )


def job_of(answer: Answer) -> str:
    return answer.headers["Darkroom-Job"]


def run_all(queue: InlineQueue) -> None:
    for each in queue.sent:
        queue.run(each)


def test_a_repeated_call_waits_on_for_the_job_of_the_first(
    anna: Caller, queue: InlineQueue
) -> None:
    queue.is_held = True
    first = ask(anna)
    second = ask(anna, attempt=1)
    run_all(queue)
    third = ask(anna, attempt=2)

    assert [first.status_code, second.status_code, third.status_code] == [504, 504, 200]
    assert len({job_of(each) for each in (first, second, third)}) == 1
    assert len(queue.sent) == 1


def test_two_first_calls_are_two_jobs_and_each_repeat_gets_one(
    anna: Caller, queue: InlineQueue
) -> None:
    queue.is_held = True
    first = {job_of(ask(anna)), job_of(ask(anna))}
    run_all(queue)

    repeated = {job_of(ask(anna, attempt=1)), job_of(ask(anna, attempt=1))}

    assert len(first) == 2
    assert repeated == first


def test_a_job_that_was_answered_is_nobody_elses_answer(anna: Caller, queue: InlineQueue) -> None:
    answered = ask(anna)

    # Its first attempt never arrived.
    repeated = ask(anna, attempt=1)

    assert answered.status_code == repeated.status_code == 200
    assert job_of(answered) != job_of(repeated)


@pytest.mark.parametrize("other", [{"prompt": "a ship"}, {"n": 2}, {"seed": 3}])
def test_another_request_is_no_repeat(
    anna: Caller, queue: InlineQueue, other: dict[str, Any]
) -> None:
    queue.is_held = True
    first = ask(anna)

    second = ask(anna, attempt=1, **other)

    assert job_of(first) != job_of(second)


def test_another_user_is_no_repeat(
    anna: Caller, sign_in: Callable[..., Caller], queue: InlineQueue
) -> None:
    queue.is_held = True
    first = ask(anna)

    second = ask(sign_in("bert@example.org"), attempt=1)

    assert job_of(first) != job_of(second)


def test_a_call_that_broke_off_unnoticed_is_found(
    anna: Caller, queue: InlineQueue, broker: Any
) -> None:
    queue.is_held = True
    first = ask(anna)
    # As it is while the first call still waits.
    broker.set(f"darkroom:openai-call:{job_of(first)}", "waiting")

    second = ask(anna, attempt=1)

    assert job_of(first) == job_of(second)


def test_without_redis_a_repeat_still_draws_nothing_twice(
    anna: Caller, queue: InlineQueue, redis_server: Any
) -> None:
    queue.is_held = True
    redis_server.connected = False
    first = ask(anna)

    second = ask(anna, attempt=1)

    assert job_of(first) == job_of(second)
    assert len(anna.get("/api/v1/jobs").json) == 1


@pytest.mark.parametrize("count", ["", "x", "-1", "٣", "9" * 50])
def test_a_strange_retry_count_breaks_nothing(anna: Caller, count: str) -> None:
    answer = anna.post(
        "/v1/images/generations",
        json={"prompt": "a lighthouse", "size": "64x64"},
        headers={"x-stainless-retry-count": count.encode().decode("latin-1")},
    )

    assert answer.status_code in {200, 504}
