"""The built-in engine's account of its calls, and runs that outlive their caller."""

from pathlib import Path
from typing import Any

import pytest

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, Size
from darkroom.errors import Canceled, LeaseLost
from engines.builtin import BuiltinEngine
from engines.catalog import Catalog
from engines.ledger import Ledger
from tests.engines.builders import Reports, a_task


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def engine(tmp_path: Path) -> BuiltinEngine:
    options = {"script": True, "ledger": tmp_path / "ledger"}
    return BuiltinEngine(EngineConfig(name="builtin", options=options), Catalog())


def draw(
    engine: BuiltinEngine, prompt: str, reports: Reports | None = None, **rest: Any
) -> list[GeneratedImage]:
    task = a_task("placeholder", prompt=prompt, size=Size(64, 64), **rest)
    return engine.generate(task, reports or Reports())


def abandoned(engine: BuiltinEngine, prompt: str) -> str:
    """Begin a run and die; returns the run's upstream id."""
    reports = Reports()

    def die() -> None:
        if reports.upstream_id is not None:
            raise LeaseLost("The worker died.")

    reports = Reports(until=die)
    with pytest.raises(LeaseLost):
        draw(engine, prompt, reports)
    assert reports.upstream_id is not None
    return reports.upstream_id


def test_every_run_is_kept_with_all_that_is_known_of_it(
    engine: BuiltinEngine, ledger: Ledger
) -> None:
    reports = Reports()

    draw(engine, "a cat [latency=0.01]", reports, attempt=2, seed=7, count=3)

    [run] = ledger.runs()
    assert (run.job_id, run.attempt, run.seed, run.id) == ("job-1", 2, 7, reports.upstream_id)
    assert run.finishes_at - run.started_at == pytest.approx(0.03)


def test_a_run_is_kept_before_anything_is_drawn(engine: BuiltinEngine, ledger: Ledger) -> None:
    run_id = abandoned(engine, "a cat")

    assert [run.id for run in ledger.runs()] == [run_id]


def test_a_call_that_is_stopped_before_it_begins_is_no_run(
    engine: BuiltinEngine, ledger: Ledger
) -> None:
    def stop() -> None:
        raise Canceled("Stop.")

    with pytest.raises(Canceled):
        draw(engine, "a cat", Reports(until=stop))

    assert list(ledger.runs()) == []


def test_a_run_that_resumes_is_gone_on_with_and_not_begun_again(
    engine: BuiltinEngine, ledger: Ledger
) -> None:
    prompt = "a cat [resume] [latency=0.2]"
    run_id = abandoned(engine, prompt)
    [run] = ledger.runs()

    [resumed] = draw(engine, prompt, attempt=2, upstream_id=run_id)

    [again] = draw(engine, prompt, attempt=3, upstream_id=run_id)
    assert [each.id for each in ledger.runs()] == [run_id]
    assert resumed.seed == run.seed
    assert resumed == again


def test_a_run_that_resumes_ends_when_it_would_have_ended(
    engine: BuiltinEngine, ledger: Ledger
) -> None:
    prompt = "a cat [resume] [latency=0.3]"
    run_id = abandoned(engine, prompt)
    reports = Reports()

    draw(engine, prompt, reports, upstream_id=run_id)

    # It is over by then: nothing is left to wait for, and no share but the last is reported.
    late = Reports()
    draw(engine, prompt, late, upstream_id=run_id)
    assert len(reports.shares) > len(late.shares)
    assert late.shares == [0.0, 1.0]


@pytest.mark.parametrize("prompt", ["a cat", "a cat [resume]"])
def test_a_run_that_cannot_be_found_again_is_a_new_one(
    engine: BuiltinEngine, ledger: Ledger, prompt: str
) -> None:
    run_id = "unheard-of" if "resume" in prompt else abandoned(engine, prompt)

    draw(engine, prompt, attempt=2, upstream_id=run_id)

    assert [run.attempt for run in ledger.runs() if run.id != run_id] == [2]


def test_without_a_ledger_nothing_is_resumed() -> None:
    options = {"script": True}
    engine = BuiltinEngine(EngineConfig(name="builtin", options=options), Catalog())
    reports = Reports()

    draw(engine, "a cat [resume]", reports, upstream_id="anything")

    assert reports.upstream_id is None
