"""Engines that rest are asked how they are, and meanwhile others draw for them."""

from collections.abc import Callable

import pytest

from darkroom.domain import ImageRequest, Job, JobStatus
from darkroom.errors import EngineError, EngineUnreachable, Misconfigured
from engines.base import Engine
from storage import Storage
from storage.health import FAILURES_TO_REST
from tests.worker.doubles import (
    Caretaker,
    OutageDatabase,
    Queue,
    ScriptedEngine,
    Worker,
    raising,
    rest,
)

Submit = Callable[..., Job]
Hire = Callable[..., Caretaker]

TO_BUILTIN = {"scripted/m": "builtin/placeholder"}


class Patient(ScriptedEngine):
    """Answers a check with this error, if there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.checks = 0

    def check(self) -> str:
        self.checks += 1
        if self.error is not None:
            raise self.error
        return "I am well."


def test_an_engine_that_is_well_again_gets_its_jobs(
    storage: Storage, hire: Hire, queue: Queue, submit: Submit
) -> None:
    job = submit()
    rest(storage, is_over=True)
    patient = Patient()

    hire(engine=lambda name: patient).round()

    assert patient.checks == 1
    assert storage.health.ailments() == {}
    assert queue.ids == [job.id]


@pytest.mark.parametrize("error", [EngineUnreachable("Still away."), Misconfigured("Wrong key.")])
def test_an_engine_that_is_not_well_rests_on(
    storage: Storage, hire: Hire, queue: Queue, submit: Submit, error: EngineError
) -> None:
    submit()
    rest(storage, is_over=True)
    patient = Patient(error)
    caretaker = hire(engine=lambda name: patient)

    caretaker.round()
    caretaker.round()

    ailment = storage.health.ailments()["scripted"]
    assert (ailment.rests, ailment.code, ailment.reason) == (True, error.code, error.detail)
    assert ailment.failures == FAILURES_TO_REST + 1
    assert patient.checks == 1
    assert queue.sent == []


def test_an_engine_whose_driver_breaks_rests_on(
    storage: Storage, hire: Hire, queue: Queue, submit: Submit, caplog: pytest.LogCaptureFixture
) -> None:
    submit()
    rest(storage, is_over=True)
    patient = Patient(ZeroDivisionError("No reason."))

    hire(engine=lambda name: patient).round()

    ailment = storage.health.ailments()["scripted"]
    assert (ailment.rests, ailment.code) == (True, "engine_failed")
    assert "'scripted' broke" in ailment.reason
    assert "ZeroDivisionError: No reason." in caplog.text
    assert queue.sent == []


def test_an_engine_that_is_no_more_rests_on(storage: Storage, hire: Hire) -> None:
    def engine(name: str) -> Engine:
        raise Misconfigured(f"No driver for engine {name!r} is installed.")

    rest(storage, is_over=True)

    hire(engine=engine).round()

    assert storage.health.ailments()["scripted"].code == "engine_misconfigured"


def test_an_engine_is_not_asked_while_it_rests(
    storage: Storage, hire: Hire, queue: Queue, submit: Submit
) -> None:
    submit()
    rest(storage, is_over=False)
    patient = Patient()

    hire(engine=lambda name: patient).round()

    assert patient.checks == 0
    assert queue.sent == []


def test_jobs_of_an_engine_that_rests_go_to_the_stand_in(
    storage: Storage, hire: Hire, queue: Queue, submit: Submit
) -> None:
    rest(storage, is_over=False)
    covered, uncovered = submit(), submit(model="other")
    caretaker = hire(fallbacks=TO_BUILTIN)

    caretaker.round()
    caretaker.round()

    job = storage.jobs.get(covered.id)
    assert (job.engine, job.model, len(job.warnings)) == ("builtin", "placeholder", 1)
    assert "engine_unreachable" in job.warnings[0]
    assert storage.jobs.get(uncovered.id) == uncovered
    assert caretaker.changed == [covered.id]
    assert queue.ids == [covered.id]


def test_jobs_that_the_stand_in_cannot_draw_wait(
    storage: Storage, hire: Hire, submit: Submit
) -> None:
    rest(storage, is_over=False)
    job = submit(request=ImageRequest(prompt="a lighthouse", quality="high"))

    hire(fallbacks=TO_BUILTIN).round()

    assert storage.jobs.get(job.id) == job


def test_jobs_of_an_engine_that_is_well_stay(storage: Storage, hire: Hire, submit: Submit) -> None:
    storage.health.note_failure("scripted", code="engine_unreachable", reason="Away.")
    job = submit()

    hire(fallbacks=TO_BUILTIN).round()

    assert storage.jobs.get(job.id).engine == "scripted"


def test_a_message_for_an_engine_that_rests_puts_its_job_back(
    storage: Storage, submit: Submit, queue: Queue, hire: Hire
) -> None:
    job = submit()
    hire().round()
    rest(storage, is_over=False)
    worker = Worker(storage)

    worker.deliver(job.id)
    storage.health.forget()
    hire().round()

    assert worker.engine.tasks == []
    assert queue.ids == [job.id, job.id]


def test_a_picture_shows_that_an_engine_is_well(storage: Storage, submit: Submit) -> None:
    storage.health.note_failure("scripted", code="engine_unreachable", reason="Away.")

    Worker(storage).run(submit())

    assert storage.health.ailments() == {}


def test_an_engine_that_is_away_is_spared_in_the_end(storage: Storage, submit: Submit) -> None:
    jobs = [submit() for _ in range(FAILURES_TO_REST + 2)]
    worker = Worker(storage, raising(EngineUnreachable("Away.")))

    for each in jobs:
        worker.deliver(each.id)

    assert len(worker.engine.tasks) == FAILURES_TO_REST
    assert {storage.jobs.get(each.id).status for each in jobs} == {JobStatus.QUEUED}


def test_a_deadline_that_passed_is_announced(
    storage: Storage, hire: Hire, queue: Queue, submit: Submit
) -> None:
    job = submit(deadline=1000.0)
    caretaker = hire()

    caretaker.round()
    caretaker.round()

    failed = storage.jobs.get(job.id)
    assert failed.error is not None
    assert (failed.status, failed.error.code) == (JobStatus.FAILED, "deadline_exceeded")
    assert caretaker.announced == [failed]
    assert queue.sent == []


def test_an_outage_puts_the_visit_off(
    storage: Storage, hire: Hire, database: OutageDatabase
) -> None:
    rest(storage, is_over=True)
    caretaker = hire(engine=lambda name: Patient())

    database.is_away = True
    caretaker.round()
    database.is_away = False
    caretaker.round()

    assert storage.health.ailments() == {}
