"""Another model takes a job over when its own engine surely drew nothing, and the job says so."""

from collections.abc import Callable

import pytest

from darkroom.domain import GeneratedImage, ImageRequest, Job, JobStatus, Limits, Progress, Size
from darkroom.errors import (
    EngineBusy,
    EngineError,
    EngineUnreachable,
    Misconfigured,
    ModelNotOffered,
    OutcomeUnknown,
    QuotaExhausted,
    RequestRejected,
)
from engines.base import Task
from storage import Storage
from storage.health import FAILURES_TO_REST
from tests.worker.doubles import ScriptedEngine, Worker, raising

Submit = Callable[..., Job]

TO_BUILTIN = {"scripted/m": "builtin/placeholder"}


def rest(storage: Storage, engine: str) -> None:
    for _ in range(FAILURES_TO_REST):
        storage.health.note_failure(engine, code="engine_unreachable", reason="Away.")


def a_worker(
    storage: Storage,
    error: EngineError | None = None,
    *,
    fallbacks: dict[str, str] | None = None,
) -> Worker:
    away = raising(error or EngineUnreachable("Away."))
    return Worker(storage, away, fallbacks=TO_BUILTIN if fallbacks is None else fallbacks)


def test_the_stand_in_draws_and_the_job_says_so(storage: Storage, submit: Submit) -> None:
    worker = a_worker(storage)

    job = worker.run(submit(warnings=("before",)))

    assert (job.status, job.engine, job.model) == (JobStatus.QUEUED, "builtin", "placeholder")
    assert job.warnings[0] == "before"
    assert "scripted/m could not draw (engine_unreachable)" in job.warnings[1]
    assert "builtin/placeholder is used" in job.warnings[1]
    assert worker.announced == []
    assert [each.id for each in storage.backlog.take("builtin", window=1)] == [job.id]
    (attempt,) = storage.attempts.of_job(job.id)
    assert (attempt.engine, attempt.outcome) == ("scripted", "engine_unreachable")
    assert Worker(storage).run(job).status is JobStatus.SUCCEEDED


def test_the_stand_in_is_told_at_once(storage: Storage, submit: Submit) -> None:
    worker = a_worker(storage)

    worker.run(submit())

    assert sorted(worker.topped_up) == ["builtin", "scripted"]


@pytest.mark.parametrize(
    ("error", "engine"),
    [
        (EngineUnreachable("No."), "builtin"),
        (Misconfigured("No."), "builtin"),
        (ModelNotOffered("No."), "builtin"),
        (QuotaExhausted("No."), "builtin"),
        (EngineBusy("No."), "scripted"),
        (OutcomeUnknown("No."), "scripted"),
        (RequestRejected("No."), "scripted"),
    ],
)
def test_it_only_takes_over_when_surely_nothing_was_drawn(
    storage: Storage, submit: Submit, error: EngineError, engine: str
) -> None:
    assert a_worker(storage, error).run(submit()).engine == engine


def test_a_stand_in_for_another_model_does_nothing(storage: Storage, submit: Submit) -> None:
    assert a_worker(storage).run(submit(model="other")).engine == "scripted"


@pytest.mark.parametrize(
    "request_",
    [
        ImageRequest(prompt="a lighthouse", size=Size(16, 16)),
        ImageRequest(prompt="a lighthouse", quality="high"),
    ],
    ids=["size", "quality"],
)
def test_a_stand_in_that_cannot_do_all_that_was_asked_does_nothing(
    storage: Storage, submit: Submit, request_: ImageRequest
) -> None:
    job = a_worker(storage).run(submit(request=request_))

    assert (job.engine, job.warnings) == ("scripted", ())


def test_a_stand_in_whose_engine_rests_does_nothing(storage: Storage, submit: Submit) -> None:
    rest(storage, "builtin")

    assert a_worker(storage).run(submit()).engine == "scripted"


@pytest.mark.parametrize("model", ["nowhere/placeholder", "builtin/unheard-of", "unheard-of"])
def test_a_stand_in_that_is_not_offered_does_nothing(
    storage: Storage, submit: Submit, model: str
) -> None:
    worker = a_worker(storage, fallbacks={"scripted/m": model})

    assert worker.run(submit()).engine == "scripted"


def test_a_model_of_the_same_engine_is_no_stand_in(storage: Storage, submit: Submit) -> None:
    worker = a_worker(storage, fallbacks={"builtin/m": "builtin/placeholder"})

    job = worker.run(submit(engine="builtin"))

    assert (job.model, job.warnings) == ("m", ())


def test_a_job_does_not_go_round_in_circles(storage: Storage, submit: Submit) -> None:
    worker = a_worker(storage)
    job = worker.run(submit())

    job = worker.run(job)

    assert (job.engine, len(job.warnings)) == ("builtin", 1)
    assert [each.engine for each in storage.attempts.of_job(job.id)] == ["scripted", "builtin"]


def test_a_job_that_is_being_canceled_goes_nowhere(storage: Storage, submit: Submit) -> None:
    def act(task: Task, progress: Progress) -> list[GeneratedImage]:
        storage.jobs.request_cancel(task.job_id)
        raise EngineUnreachable("Away.")

    job = Worker(storage, ScriptedEngine(act), fallbacks=TO_BUILTIN).run(submit())

    assert (job.status, job.engine) == (JobStatus.CANCELED, "scripted")


def test_a_stand_in_that_the_owner_may_not_use_does_nothing(
    storage: Storage, submit: Submit
) -> None:
    job = submit()
    storage.users.update(job.owner_id, own_limits=Limits(models=("scripted/*",)))

    assert a_worker(storage).run(job).engine == "scripted"
