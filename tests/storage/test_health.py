"""Engines that fail again and again rest, longer each time, until they are well."""

import pytest
from sqlalchemy import select, update

from darkroom.pools import health_key
from storage import Storage
from storage.database import epoch_now
from storage.health import FAILURES_TO_REST, FIRST_REST_S, LONGEST_REST_S
from storage.tables import engine_health


def fail(storage: Storage, engine: str = "openai", *, times: int = 1) -> bool:
    rests = False
    for _ in range(times):
        rests = storage.health.note_failure(engine, code="engine_unreachable", reason="Away.")
    return rests


def end_rest(storage: Storage) -> None:
    """As if so much time had passed."""
    with storage.database.writing() as connection:
        connection.execute(
            update(engine_health)
            .where(engine_health.c.rests_until.is_not(None))
            .values(rests_until=1000.0)
        )


def rest_s(storage: Storage, engine: str = "openai") -> float:
    """How long an engine rests from now on."""
    with storage.database.reading() as connection:
        now: float = connection.scalar(select(epoch_now())) or 0
    return (storage.health.ailments()[engine].rests_until or 0) - now


def test_an_engine_nobody_complained_of_is_well(storage: Storage) -> None:
    assert storage.health.ailments() == {}
    assert not storage.health.rests("openai")


def test_a_few_failures_are_remembered_and_no_more(storage: Storage) -> None:
    assert not fail(storage, times=FAILURES_TO_REST - 1)

    ailment = storage.health.ailments()["openai"]
    assert (ailment.failures, ailment.rests) == (FAILURES_TO_REST - 1, False)
    assert (ailment.code, ailment.reason) == ("engine_unreachable", "Away.")
    assert not storage.health.rests("openai")


def test_a_server_and_its_engine_may_have_long_names(storage: Storage) -> None:
    key = health_key("e" * 64, "s" * 40)

    assert fail(storage, key, times=FAILURES_TO_REST)
    assert storage.health.rests(key)


def test_an_engine_that_fails_again_and_again_rests(storage: Storage) -> None:
    assert fail(storage, times=FAILURES_TO_REST)

    assert storage.health.rests("openai")
    assert not storage.health.rests("builtin")
    assert rest_s(storage) == pytest.approx(FIRST_REST_S, abs=FIRST_REST_S / 2)


def test_the_last_failure_is_the_one_that_is_told(storage: Storage) -> None:
    fail(storage)

    storage.health.note_failure("openai", code="engine_misconfigured", reason="Wrong key.")

    ailment = storage.health.ailments()["openai"]
    assert (ailment.code, ailment.reason) == ("engine_misconfigured", "Wrong key.")


def test_each_rest_is_twice_as_long_up_to_a_limit(storage: Storage) -> None:
    fail(storage, times=FAILURES_TO_REST)

    rests = []
    for _ in range(7):
        end_rest(storage)
        fail(storage)
        rests.append(rest_s(storage))

    wanted = [min(FIRST_REST_S * 2**doubled, LONGEST_REST_S) for doubled in range(1, 8)]
    assert wanted[-1] == LONGEST_REST_S
    assert rests == pytest.approx(wanted, abs=FIRST_REST_S / 2)


def test_jobs_that_still_fail_while_it_rests_make_the_rest_no_longer(storage: Storage) -> None:
    fail(storage, times=FAILURES_TO_REST)

    assert not fail(storage, times=20)

    assert rest_s(storage) < FIRST_REST_S * 1.5


def test_a_success_forgets_all_failures(storage: Storage) -> None:
    fail(storage, times=FAILURES_TO_REST - 1)

    assert storage.health.note_success("openai")

    assert not fail(storage, times=FAILURES_TO_REST - 1)


@pytest.mark.parametrize("is_over", [False, True])
def test_a_job_that_began_before_a_rest_does_not_end_it(storage: Storage, is_over: bool) -> None:
    storage.health.note_failure("openai", code="quota_exhausted", reason="Later.", rest_s=60)
    if is_over:
        end_rest(storage)

    assert not storage.health.note_success("openai")

    assert storage.health.rests("openai")


def test_a_success_of_an_engine_that_was_well_is_no_news(storage: Storage) -> None:
    fail(storage, "builtin")

    assert not storage.health.note_success("openai")


def test_a_new_configuration_gives_every_engine_a_fresh_start(storage: Storage) -> None:
    fail(storage, "openai", times=FAILURES_TO_REST)
    fail(storage, "builtin")

    storage.health.forget()

    assert storage.health.ailments() == {}


def test_an_engine_is_due_for_a_check_when_its_rest_is_over(storage: Storage) -> None:
    fail(storage, "builtin")
    fail(storage, "openai", times=FAILURES_TO_REST)
    before = list(storage.health.due_for_check())

    end_rest(storage)

    assert before == []
    assert list(storage.health.due_for_check()) == ["openai"]


def test_an_engine_whose_rest_is_over_is_left_alone_until_it_was_asked(storage: Storage) -> None:
    fail(storage, times=FAILURES_TO_REST)

    end_rest(storage)

    assert storage.health.rests("openai")
