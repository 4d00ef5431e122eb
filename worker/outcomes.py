"""What becomes of a job whose attempt failed: decided here, by the class of the error alone.

| Error | Drawn? | The job |
|---|---|---|
| EngineBusy, EngineUnreachable | surely not | waits and tries again, for as long as `patience_s` |
| OutcomeUnknown, EngineFailed | perhaps | where that is free, tries again, `max_attempts` times |
| all others | no matter | fails: the same request would fail again |
"""

import random
from dataclasses import dataclass

from darkroom.errors import (
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    ModelNotOffered,
    OutcomeUnknown,
    QuotaExhausted,
)

#: Errors after which surely nothing was drawn or charged, so that trying again is free …
NOTHING_DRAWN = (EngineBusy, EngineUnreachable)

#: … those after which something may have been …
PERHAPS_DRAWN = (OutcomeUnknown, EngineFailed)

#: … and those that another engine could do better at once, with nothing drawn either.
ANOTHER_ENGINE_COULD = (EngineUnreachable, Misconfigured, QuotaExhausted)

#: Another server of the same engine could, too: nothing was drawn, and it has an address, a key and
#: models of its own.
ANOTHER_SERVER_COULD = (*NOTHING_DRAWN, Misconfigured, QuotaExhausted)

#: Those of them that one server would answer with again.
REFUSALS = (Misconfigured, ModelNotOffered, QuotaExhausted)

#: How long a server of several rests whose account has no quota left, in seconds.
QUOTA_REST_S = 300.0

#: The first delay before another try and the longest, in seconds.
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0

#: The longest time an engine may ask us to stay away, in seconds.
LONGEST_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How patient the service is."""

    #: How often a job is tried whose attempts may have drawn something, or lost their worker.
    max_attempts: int
    #: How long after it was accepted a job is tried again for engines that are busy or away, in
    #: seconds.
    patience_s: float
    #: Whether a paid call that may have happened is repeated.
    repeat_paid: bool


def delay_before_retry(
    error: EngineError,
    policy: Policy,
    *,
    attempt: int,
    tries: int,
    tried_for_s: float,
    is_paid: bool,
    waits: bool = False,
) -> float | None:
    """Seconds until the job is tried again, or None when it must fail.

    `attempt` is its number, `tries` how many attempts count against `max_attempts`, this one
    included, and `tried_for_s` how long ago the first of all began. It `waits` where another server
    of the engine may draw it, whatever the error of this one.
    """
    if waits or isinstance(error, NOTHING_DRAWN):
        delay_s = _back_off(attempt)
        if isinstance(error, EngineBusy) and error.retry_after_s is not None:
            delay_s = max(delay_s, min(error.retry_after_s, LONGEST_RETRY_AFTER_S))
        return delay_s if tried_for_s + delay_s <= policy.patience_s else None
    may_repeat = policy.repeat_paid or not is_paid
    if isinstance(error, PERHAPS_DRAWN) and may_repeat and tries < policy.max_attempts:
        return _back_off(tries)
    return None


def is_engines_fault(error: EngineError) -> bool:
    """Whether the failure says something about the engine, and not about the request."""
    return isinstance(error, EngineUnreachable | Misconfigured) and not isinstance(
        error, ModelNotOffered
    )


def rest_at_once(error: EngineError) -> float | None:
    """How long a server of several rests at once, in seconds, so that the next jobs spare it."""
    if isinstance(error, QuotaExhausted):
        return QUOTA_REST_S
    return error.retry_after_s if isinstance(error, EngineBusy) else None


def _back_off(number: int) -> float:
    """Doubles each time, with jitter, so that jobs that failed together do not come back so."""
    delay_s = min(FIRST_DELAY_S * 2.0 ** min(number - 1, 10), LONGEST_DELAY_S)
    return delay_s * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing
