"""Aftermath: what becomes of a job whose attempt did not end with pictures.

It fails, waits for another attempt, or goes to another model. Every way is one compare-and-set by
the attempt that held the job; each method returns whether the job is finished by it.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from darkroom.domain import Job, JobError
from darkroom.errors import (
    EngineError,
    EngineUnreachable,
    Misconfigured,
    OutcomeUnknown,
    WorkersDied,
)
from darkroom.pools import Pool, PoolOf, health_key, single
from engines.base import Engine
from storage import Storage
from storage.attempts import HANDED_BACK, LEASE_LOST, Attempts
from worker.fallback import Fallbacks
from worker.outcomes import (
    ANOTHER_ENGINE_COULD,
    ANOTHER_SERVER_COULD,
    NOTHING_DRAWN,
    PERHAPS_DRAWN,
    REFUSALS,
    Policy,
    delay_before_retry,
    is_engines_fault,
    rest_at_once,
)

log = structlog.get_logger(__name__)

#: Outcomes of attempts that count against the bound; waiting for a busy engine does not.
COUNTED = frozenset({LEASE_LOST, *(each.code for each in PERHAPS_DRAWN)})


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """Decides by the error's class, the engine's nature and the attempts so far."""

    storage: Storage
    policy: Policy
    fallbacks: Fallbacks
    #: The class of an engine's driver. Raises Misconfigured.
    driver: Callable[[str], type[Engine]]
    #: The servers of an engine at this moment.
    pool_of: PoolOf = single

    def failed(self, job: Job, error: EngineError) -> bool:
        """The engine raised `error`."""
        pool = self.pool_of(job.engine, job.request.operation)
        self._note_failure(job, error, pool)
        # A run that can be found again may still draw: it is not forgotten, nor left for another.
        began_earlier = job.upstream_id is not None and isinstance(error, NOTHING_DRAWN)
        goes_on = (began_earlier or isinstance(error, OutcomeUnknown)) and self._can_resume(job)
        if began_earlier and pool.begins_anew and isinstance(error, EngineUnreachable):
            # The server that had the run is gone, and another one can draw it at once.
            goes_on = goes_on and not self._has_untried(job, pool)
        waits = False
        if pool.has_choice and not goes_on and isinstance(error, ANOTHER_SERVER_COULD):
            if self._has_untried(job, pool):
                log.info("job goes to another server", code=error.code)
                return _wait_again(
                    self.storage.attempts,
                    job,
                    outcome=error.code,
                    detail=error.detail,
                    is_run_over=True,
                    avoided=_with_this(job),
                )
            waits = not self._was_refused_by_all(job, error, pool)
        if not goes_on and isinstance(error, ANOTHER_ENGINE_COULD) and self._rerouted(job, error):
            return False
        delay_s = delay_before_retry(
            error,
            self.policy,
            # Each server of several is tried once before the next delay.
            attempt=math.ceil(job.attempt / len(pool.places)),
            tries=self._tries(job) + 1,
            tried_for_s=time.time() - self._first_try(job),
            is_paid=self._is_paid(job.engine) and not goes_on,
            waits=waits,
        )
        if delay_s is None:
            return self.storage.attempts.fail(job, recorded(error))
        log.info("job tries again", code=error.code, delay_s=round(delay_s, 1))
        return _wait_again(
            self.storage.attempts,
            job,
            outcome=error.code,
            detail=error.detail,
            delay_s=delay_s,
            is_run_over=not goes_on,
            # What broke on one server may well not break on another.
            avoided=_with_this(job) if isinstance(error, PERHAPS_DRAWN) and not goes_on else (),
        )

    def lost(self, job: Job) -> bool:
        """Its worker gave no sign of life for longer than its lease.

        One that gave a sign since the job was read keeps it.
        """
        attempts = self.storage.attempts.if_expired()
        if attempts.cancel_held(job):
            return True
        if self._may_be_paid_for(job):
            return attempts.fail(job, _outcome_unknown("The worker died"))
        if self._tries(job) + 1 >= self.policy.max_attempts:
            died = WorkersDied(
                f"The worker died in each of {job.attempt} attempts; the workers' logs say why."
            )
            return attempts.fail(job, recorded(died))
        return _wait_again(attempts, job, outcome=LEASE_LOST, detail=f"{job.worker} died")

    def interrupted(self, job: Job) -> bool:
        """Its worker is stopping and cannot wait for the end."""
        attempts = self.storage.attempts
        if attempts.cancel_held(job):
            return True
        if self._may_be_paid_for(job):
            return attempts.fail(job, _outcome_unknown("The worker was stopped"))
        return _wait_again(attempts, job, outcome=HANDED_BACK, detail="The worker was stopped.")

    def not_begun(self, job: Job) -> bool:
        """Its worker was stopping already when it took the job: this attempt drew nothing."""
        return _wait_again(
            self.storage.attempts, job, outcome=HANDED_BACK, detail="The worker was stopped."
        )

    def _note_failure(self, job: Job, error: EngineError, pool: Pool) -> None:
        rest_s = rest_at_once(error) if pool.has_choice else None
        if rest_s is None and not is_engines_fault(error):
            return
        key = health_key(job.engine, job.server)
        if self.storage.health.note_failure(
            key, code=error.code, reason=error.detail, rest_s=rest_s
        ):
            log.warning("engine rests", engine=key, reason=error.detail)

    def _has_untried(self, job: Job, pool: Pool) -> bool:
        """Whether another server that is well may have the model and was not tried yet."""
        well = pool.well(self.storage.health.resting())
        tried = _with_this(job)
        return any(each in well and each.server not in tried for each in pool.with_model(job.model))

    def _was_refused_by_all(self, job: Job, error: EngineError, pool: Pool) -> bool:
        """Whether every server that may have the model would refuse it again."""
        codes = {each.code for each in REFUSALS}
        refused = {job.server} if error.code in codes else set()
        refused |= {
            each.server
            for each in self.storage.attempts.of_job(job.id)
            if each.engine == job.engine and each.outcome in codes
        }
        return all(each.server in refused for each in pool.with_model(job.model))

    def _rerouted(self, job: Job, error: EngineError) -> bool:
        other = self.fallbacks.find(job, error.code)
        if other is None:
            return False
        tried = self.storage.attempts.of_job(job.id)
        if any(each.engine == other.engine for each in tried):
            # Two that stand in for each other must not pass a job to and fro.
            return False
        log.warning("job goes to another engine", engine=other.engine, model=other.model)
        return self.storage.attempts.reroute(
            job,
            recorded(error),
            engine=other.engine,
            model=other.model,
            request=other.request,
            warning=other.warning,
        )

    def _may_be_paid_for(self, job: Job) -> bool:
        """Whether another attempt could pay for the same pictures a second time."""
        if self.policy.repeat_paid or not self._is_paid(job.engine):
            return False
        return not self._can_resume(job)

    def _can_resume(self, job: Job) -> bool:
        """Whether another attempt goes on with the run that this one began."""
        # Asked anew: the run may have got its id after the job was claimed.
        upstream_id = self.storage.jobs.get(job.id).upstream_id
        return upstream_id is not None and self._resumes(job.engine)

    def _is_paid(self, engine: str) -> bool:
        try:
            return self.driver(engine).paid
        except Misconfigured:
            # Not installed here any more: better not repeated than paid twice.
            return True

    def _resumes(self, engine: str) -> bool:
        try:
            return self.driver(engine).resumes
        except Misconfigured:
            return False

    def _first_try(self, job: Job) -> float:
        """When a worker first took it: what waited for hours in a batch is as patient as others."""
        return min(
            (each.started_at for each in self.storage.attempts.of_job(job.id)),
            default=job.created_at,
        )

    def _tries(self, job: Job) -> int:
        return sum(each.outcome in COUNTED for each in self.storage.attempts.of_job(job.id))


def recorded(error: EngineError) -> JobError:
    """An error as it is kept in the row."""
    return JobError(
        code=error.code,
        detail=error.detail,
        retryable=error.retryable,
        param=error.param,
        upstream_status=error.upstream_status,
        upstream_code=error.upstream_code,
        upstream_request_id=error.upstream_request_id,
    )


def _with_this(job: Job) -> tuple[str, ...]:
    """The servers that could not draw a job since it last waited, with its present one."""
    return job.avoided if job.server is None else (*job.avoided, job.server)


def _outcome_unknown(what: str) -> JobError:
    return recorded(
        OutcomeUnknown(
            f"{what} during a call that may have been charged, so it is not repeated. Check the"
            " engine's own usage page, then send the request again."
        )
    )


def _wait_again(
    attempts: Attempts,
    job: Job,
    *,
    outcome: str,
    detail: str,
    delay_s: float = 0.0,
    is_run_over: bool = False,
    avoided: Sequence[str] = (),
) -> bool:
    if attempts.hand_back(
        job,
        outcome=outcome,
        detail=detail,
        delay_s=delay_s,
        is_run_over=is_run_over,
        avoided=avoided,
    ):
        return False
    # It may be that it is being canceled, which ends here just as well.
    return attempts.cancel_held(job)
