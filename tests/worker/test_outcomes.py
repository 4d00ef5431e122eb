"""What becomes of a failed attempt, by the class of its error alone."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from darkroom.errors import (
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    OutcomeUnknown,
)
from tests.worker.doubles import PATIENT
from worker.outcomes import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    LONGEST_RETRY_AFTER_S,
    Policy,
    delay_before_retry,
    is_engines_fault,
)

#: Which errors are tried again: whatever it costs, where it is free, and by their engine's name
#: which say something about the engine. Every class is listed.
TRIED_AGAIN = {"EngineBusy", "EngineUnreachable"}
TRIED_AGAIN_WHERE_FREE = {"EngineFailed", "OutcomeUnknown"}
ENGINES_FAULT = {"EngineUnreachable", "Misconfigured"}
NEITHER = {
    "EngineError",
    "RequestRejected",
    "ContentRefused",
    "ModelNotOffered",
    "QuotaExhausted",
    "InvalidPicture",
    "DeadlineExceeded",
    "WorkersDied",
}

JITTER = (0.75, 1.25)


def kinds(root: type[EngineError] = EngineError) -> Iterator[type[EngineError]]:
    yield root
    for each in root.__subclasses__():
        yield from kinds(each)


def delay(
    error: EngineError,
    policy: Policy = PATIENT,
    *,
    attempt: int = 1,
    tries: int = 1,
    tried_for_s: float = 0,
    is_paid: bool = False,
) -> float | None:
    return delay_before_retry(
        error, policy, attempt=attempt, tries=tries, tried_for_s=tried_for_s, is_paid=is_paid
    )


def within_jitter(delay_s: float | None, wanted_s: float) -> bool:
    low, high = JITTER
    return delay_s is not None and low * wanted_s <= delay_s <= high * wanted_s


def test_every_error_is_in_one_of_the_lists() -> None:
    listed = TRIED_AGAIN | TRIED_AGAIN_WHERE_FREE | ENGINES_FAULT | NEITHER

    assert listed == {each.__name__ for each in kinds()}


@pytest.mark.parametrize("is_paid", [False, True], ids=["free", "paid"])
@pytest.mark.parametrize("kind", list(kinds()), ids=lambda each: each.__name__)
def test_the_class_of_the_error_decides(kind: type[EngineError], is_paid: bool) -> None:
    is_tried_again = kind.__name__ in TRIED_AGAIN or (
        kind.__name__ in TRIED_AGAIN_WHERE_FREE and not is_paid
    )

    assert (delay(kind("No."), is_paid=is_paid) is not None) is is_tried_again


@pytest.mark.parametrize("kind", [EngineFailed, OutcomeUnknown])
def test_a_paid_call_is_repeated_where_the_admin_allows_it(kind: type[EngineError]) -> None:
    policy = replace(PATIENT, repeat_paid=True)

    assert delay(kind("No."), policy, is_paid=True) is not None


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda each: each.__name__)
def test_what_says_something_about_the_engine(kind: type[EngineError]) -> None:
    assert is_engines_fault(kind("No.")) is (kind.__name__ in ENGINES_FAULT)


@pytest.mark.parametrize(
    ("attempt", "doubled"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (10_000, 60)]
)
def test_delays_double_with_each_attempt_up_to_a_limit(attempt: int, doubled: float) -> None:
    wanted = min(FIRST_DELAY_S * doubled, LONGEST_DELAY_S)

    delays = [delay(EngineUnreachable("No."), attempt=attempt) for _ in range(50)]

    assert all(within_jitter(each, wanted) for each in delays)


def test_jobs_that_failed_together_do_not_come_back_together() -> None:
    assert len({delay(EngineUnreachable("No.")) for _ in range(20)}) > 1


@pytest.mark.parametrize(("tries", "doubled"), [(1, 1), (2, 2), (3, 4)])
def test_only_tries_that_may_have_drawn_lengthen_the_delay_of_one_that_may_have(
    tries: int, doubled: float
) -> None:
    policy = replace(PATIENT, max_attempts=9)

    found = delay(EngineFailed("No."), policy, attempt=8, tries=tries)

    assert within_jitter(found, FIRST_DELAY_S * doubled)


def test_a_busy_engine_is_left_alone_for_as_long_as_it_asked() -> None:
    assert delay(EngineBusy("No.", retry_after_s=120.0)) == 120.0


def test_a_busy_engine_that_asks_for_nothing_much_is_left_alone_a_little() -> None:
    assert within_jitter(delay(EngineBusy("No.", retry_after_s=0.0)), FIRST_DELAY_S)


def test_no_engine_can_ask_to_be_left_alone_forever() -> None:
    policy = replace(PATIENT, patience_s=1e9)

    assert delay(EngineBusy("No.", retry_after_s=1e8), policy) == LONGEST_RETRY_AFTER_S


@pytest.mark.parametrize("error", [EngineBusy("No."), EngineUnreachable("No.")])
def test_patience_with_an_engine_that_is_busy_or_away_ends(error: EngineError) -> None:
    assert delay(error, attempt=1, tried_for_s=PATIENT.patience_s - 2) is not None
    assert delay(error, attempt=1, tried_for_s=PATIENT.patience_s) is None


def test_a_job_fails_at_once_when_the_engine_asks_for_more_patience_than_there_is() -> None:
    assert delay(EngineBusy("No.", retry_after_s=100), tried_for_s=PATIENT.patience_s - 50) is None


def test_an_engine_that_is_busy_costs_no_tries() -> None:
    assert delay(EngineBusy("No."), tries=PATIENT.max_attempts + 5) is not None


@pytest.mark.parametrize("kind", [EngineFailed, OutcomeUnknown])
def test_tries_that_may_have_drawn_are_bounded(kind: type[EngineError]) -> None:
    last = PATIENT.max_attempts

    assert delay(kind("No."), tries=last - 1) is not None
    assert delay(kind("No."), tries=last) is None


def test_age_does_not_end_what_may_have_drawn() -> None:
    assert delay(EngineFailed("No."), tried_for_s=1e6) is not None


def test_a_wrong_key_fails_whatever_the_policy() -> None:
    policy = Policy(max_attempts=99, patience_s=1e9, repeat_paid=True)

    assert delay(Misconfigured("No."), policy) is None
