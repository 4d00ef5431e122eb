"""What another server of an engine is worth when one cannot draw."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from darkroom.domain import GeneratedImage, Job, JobStatus, Operation, Progress
from darkroom.errors import (
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    ModelNotOffered,
    QuotaExhausted,
    RequestRejected,
)
from darkroom.pools import Place, Pool
from engines.base import Engine, Task
from storage import Storage
from tests.worker.doubles import Caretaker, ScriptedEngine, Worker, draw
from worker.outcomes import QUOTA_REST_S

Submit = Callable[..., Job]

TO_BUILTIN = {"scripted/m": "builtin/placeholder"}


@dataclass
class Servers:
    """Two servers and a worker; each server draws, or answers with an error of its own."""

    storage: Storage
    errors: Mapping[str, EngineError]
    fallbacks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.asked: list[str | None] = []
        self.worker = Worker(
            self.storage,
            engine_for=self._engine_for,
            pool_of=self._pool_of,
            fallbacks=self.fallbacks,
        )

    def run(self, job: Job) -> Job:
        """As it is when it is finished, or has to wait for a while."""
        for _ in range(5):
            job = self.worker.run(job)
            if job.status.is_finished or job.not_before is not None:
                break
        return job

    def _pool_of(self, engine: str, operation: Operation) -> Pool:
        places = tuple(Place(server=each, limit=4) for each in ("a", "b"))
        return Pool(engine=engine, places=places, resumes=True, begins_anew=True)

    def _engine_for(self, job: Job) -> Engine:
        def act(task: Task, progress: Progress) -> list[GeneratedImage]:
            self.asked.append(job.server)
            if (error := self.errors.get(str(job.server))) is not None:
                raise error
            return draw(task, progress)

        return ScriptedEngine(act)


@pytest.mark.parametrize(
    "error",
    [
        EngineUnreachable("Away."),
        EngineBusy("Busy.", retry_after_s=30),
        Misconfigured("Wrong key."),
        ModelNotOffered("No such model."),
        QuotaExhausted("No money."),
    ],
)
def test_another_server_draws_at_once_what_one_could_not(
    storage: Storage, submit: Submit, error: EngineError
) -> None:
    servers = Servers(storage, {"a": error})

    job = servers.run(submit())

    assert (job.status, job.server) == (JobStatus.SUCCEEDED, "b")
    assert servers.asked == ["a", "b"]
    first = storage.attempts.of_job(job.id)[0]
    assert (first.server, first.outcome) == ("a", error.code)


def test_a_request_that_no_server_would_draw_fails_at_the_first(
    storage: Storage, submit: Submit
) -> None:
    servers = Servers(storage, {"a": RequestRejected("No.")})

    assert servers.run(submit()).status is JobStatus.FAILED
    assert servers.asked == ["a"]


def test_when_all_are_away_the_job_waits_and_each_was_asked_once(
    storage: Storage, submit: Submit
) -> None:
    servers = Servers(storage, {each: EngineUnreachable("Away.") for each in "ab"})

    job = servers.run(submit())

    assert (job.status, job.avoided) == (JobStatus.QUEUED, ())
    assert job.not_before is not None
    assert servers.asked == ["a", "b"]


def test_what_every_server_refuses_fails(storage: Storage, submit: Submit) -> None:
    servers = Servers(storage, {"a": ModelNotOffered("No."), "b": Misconfigured("Wrong key.")})

    job = servers.run(submit())

    assert job.error is not None
    assert (job.status, job.error.code) == (JobStatus.FAILED, "engine_misconfigured")
    assert servers.asked == ["a", "b"]


def test_what_one_refuses_waits_for_the_other_that_rests(storage: Storage, submit: Submit) -> None:
    storage.health.note_failure("scripted/b", code="engine_unreachable", reason="Away.", rest_s=60)
    servers = Servers(storage, {"a": ModelNotOffered("No.")})

    job = servers.run(submit())

    assert job.status is JobStatus.QUEUED
    assert job.not_before is not None
    assert servers.asked == ["a"]


def test_a_fallback_is_used_only_when_no_server_is_left(storage: Storage, submit: Submit) -> None:
    one_away = Servers(storage, {"a": EngineUnreachable("Away.")}, TO_BUILTIN)
    assert one_away.run(submit()).engine == "scripted"

    all_away = Servers(storage, {each: EngineUnreachable("Away.") for each in "ab"}, TO_BUILTIN)
    job = submit()
    for _ in range(2):
        job = all_away.worker.run(job)

    assert (job.engine, job.server, job.avoided) == ("builtin", None, ())
    assert sorted(map(str, all_away.asked)) == ["a", "b"]


def test_a_failure_is_counted_against_its_own_server(storage: Storage, submit: Submit) -> None:
    servers = Servers(storage, {"a": EngineUnreachable("Away.")})

    for _ in range(8):
        assert servers.run(submit()).status is JobStatus.SUCCEEDED

    assert set(storage.health.resting()) == {"scripted/a"}
    assert servers.asked.count("a") == 3


@pytest.mark.parametrize(
    ("error", "rest_s"),
    [(QuotaExhausted("No money."), QUOTA_REST_S), (EngineBusy("Busy.", retry_after_s=60), 60)],
)
def test_a_server_that_cannot_draw_for_a_while_is_spared_by_the_next_jobs(
    storage: Storage, submit: Submit, error: EngineError, rest_s: float
) -> None:
    servers = Servers(storage, {"a": error})

    for _ in range(3):
        assert servers.run(submit()).status is JobStatus.SUCCEEDED

    assert servers.asked.count("a") == 1
    now = storage.jobs.get(submit().id).created_at
    assert (storage.health.resting()["scripted/a"].rests_until or 0) - now == pytest.approx(
        rest_s, abs=15
    )


def test_what_broke_on_one_server_is_tried_on_another(storage: Storage, submit: Submit) -> None:
    servers = Servers(storage, {"a": EngineFailed("Out of memory.")})

    job = servers.run(submit())

    assert (job.status, job.avoided) == (JobStatus.QUEUED, ("a",))


def test_a_run_whose_server_is_gone_begins_anew_on_another(
    storage: Storage, submit: Submit
) -> None:
    servers = Servers(storage, {"a": EngineUnreachable("Away.")})
    job = submit(engine="resuming")
    held = storage.attempts.claim(job.id, worker="w9", lease_s=30, pool_of=servers.worker.pool_of)
    assert held is not None
    storage.attempts.note(held, upstream_id="run-1")
    storage.attempts.hand_back(held, outcome="outcome_unknown")

    job = servers.run(job)

    assert (job.status, job.server) == (JobStatus.SUCCEEDED, "b")
    assert servers.asked == ["a", "b"]


def test_only_the_server_that_rests_is_asked_how_it_is(
    storage: Storage, hire: Callable[..., Caretaker]
) -> None:
    storage.health.note_failure("scripted/a", code="engine_unreachable", reason="Away.", rest_s=0)
    storage.health.note_failure("scripted/old", code="engine_unreachable", reason="No.", rest_s=0)
    caretaker = hire()
    visited: list[tuple[str, str | None]] = []

    def engine(name: str, server: str | None) -> Engine:
        visited.append((name, server))
        return ScriptedEngine()

    places = (Place(server="a"), Place(server="b"))
    caretaker.upkeep.engine = engine
    caretaker.upkeep.pools = lambda: lambda name: Pool(engine=name, places=places)
    caretaker.round()

    # The old one is not configured any more.
    assert visited == [("scripted", "a")]
    assert storage.health.ailments() == {}


def test_a_worker_asks_only_those_it_draws_with(
    storage: Storage, hire: Callable[..., Caretaker]
) -> None:
    storage.health.note_failure("scripted", code="engine_unreachable", reason="Away.", rest_s=0)
    caretaker = hire()
    caretaker.upkeep.serves = lambda engine: engine == "builtin"

    caretaker.round()

    assert set(storage.health.resting()) == {"scripted"}
