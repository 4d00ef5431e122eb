"""Following and stopping runs on an AUTOMATIC1111 server that others use too."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from darkroom.domain import GeneratedImage
from darkroom.errors import (
    Canceled,
    DeadlineExceeded,
    EngineFailed,
    LeaseLost,
    OutcomeUnknown,
)
from engines.automatic1111 import Automatic1111
from tests.engines.automatic1111_builders import (
    Neighbour,
    Stop,
    engine_at,
    pixel,
    wait_until,
)
from tests.engines.builders import Reports, a_task, opened
from tests.engines.servers.automatic1111 import Automatic1111Server
from tests.engines.servers.automatic1111_pictures import colour


@pytest.fixture(autouse=True)
def _short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.http.TICK_S", 0.02)


@pytest.fixture
def server() -> Iterator[Automatic1111Server]:
    with Automatic1111Server(step_s=0.01) as server:
        yield server


@pytest.fixture
def headless() -> Iterator[Automatic1111Server]:
    """A server without the web interface, which knows nobody's runs by their ids."""
    with Automatic1111Server(step_s=0.01, has_ui=False) as server:
        yield server


@pytest.fixture
def engine(server: Automatic1111Server) -> Automatic1111:
    return engine_at(server)


def interrupts(server: Automatic1111Server) -> int:
    return len(server.calls_to("/interrupt"))


def draw(engine: Automatic1111, model: str, prompt: str) -> GeneratedImage:
    (image,) = engine.generate(a_task(model, prompt=prompt, seed=1, steps=5), Reports())
    return image


# How far it is


def test_progress_grows_and_shows_each_preview_once(engine: Automatic1111) -> None:
    reports = Reports()

    engine.generate(a_task("default", count=2, steps=30), reports)

    assert all(a <= b for a, b in itertools.pairwise(reports.shares))
    assert len({each for each in reports.shares if 0 < each <= 1}) > 5
    assert 2 <= len(reports.previews) <= 20
    assert {opened(each).format for each in reports.previews} == {"PNG"}


def test_while_a_neighbour_draws_nothing_of_its_run_is_shown(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    reports = Reports()

    with Neighbour(server, steps=30) as neighbour:
        draw_alone = engine.generate(a_task("default", prompt="ours", steps=1), reports)
        assert server.run(neighbour.prompt).is_over

    assert draw_alone
    assert reports.previews == []
    assert max(reports.shares) in {0.0, 1.0}


def test_a_headless_server_tells_how_far_it_is_and_shows_nobodys_preview(
    headless: Automatic1111Server,
) -> None:
    reports = Reports()

    engine_at(headless).generate(a_task("default", steps=30), reports)

    assert max(reports.shares) > 0.5
    assert reports.previews == []


def test_the_progress_of_a_headless_server_may_be_about_someone_else(
    headless: Automatic1111Server,
) -> None:
    reports = Reports()

    with Neighbour(headless, steps=30):
        engine_at(headless).generate(a_task("default", prompt="ours", steps=1), reports)

    assert max(reports.shares) in {0.0, 1.0, 0.01}


@pytest.mark.parametrize("has_ui", [True, False])
def test_the_steps_of_the_job_before_are_not_taken_for_ours(has_ui: bool) -> None:
    with Automatic1111Server(step_s=0.01, has_ui=has_ui) as server:
        engine = engine_at(server)
        draw(engine, "default", "before")
        server.machine.load_s = 0.3
        shares: list[float] = []

        class Watch(Reports):
            def __call__(self, share: float | None = None, **rest: Any) -> None:
                if server.machine.loads and server.run("ours").checkpoint is None:
                    shares.extend([share] if share is not None else [])
                super().__call__(share, **rest)

        engine.generate(a_task("anime", prompt="ours", steps=5), Watch())

        # While its checkpoint is loaded, the server still tells of five steps.
        assert shares
        assert max(shares) <= 0.01


@pytest.mark.parametrize("has_ui", [True, False])
def test_questions_that_break_never_break_the_drawing(has_ui: bool) -> None:
    with Automatic1111Server(step_s=0.01, has_ui=has_ui) as server:
        server.is_deaf = True

        assert engine_at(server).generate(a_task("default", steps=10), Reports())


def test_each_try_has_an_id_of_its_own(engine: Automatic1111, server: Automatic1111Server) -> None:
    for attempt in (1, 1, 2):
        engine.generate(a_task("default", steps=1, attempt=attempt), Reports())

    ids = [each.task_id for each in server.runs]
    assert len(set(ids)) == 3
    assert all("job-1" in each for each in ids)


def test_active_stays_true_after_an_error(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    server.fail("broken")

    with pytest.raises(EngineFailed):
        engine.generate(a_task("default"), Reports())

    assert server.machine.current == server.runs[0].task_id


# Stopping


@pytest.mark.parametrize("error", [Canceled("Stop."), DeadlineExceeded("Too late.")])
def test_a_run_that_must_stop_is_interrupted(
    engine: Automatic1111, server: Automatic1111Server, error: BaseException
) -> None:
    stop = Stop(error, when=lambda: server.machine.state.sampling_step > 3)

    with pytest.raises(type(error)):
        engine.generate(a_task("default", steps=150, prompt="ours"), Reports(until=stop))

    wait_until(lambda: server.run("ours").is_over)
    assert server.run("ours").was_interrupted
    assert interrupts(server) == 1


def test_a_run_that_comes_to_its_time_limit_is_interrupted(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    with pytest.raises(OutcomeUnknown):
        engine.generate(a_task("default", steps=150, timeout_s=0.3, prompt="ours"), Reports())

    wait_until(lambda: server.run("ours").is_over)
    assert server.run("ours").was_interrupted


def test_a_lost_lease_leaves_the_run_alone(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    stop = Stop(LeaseLost("Gone."), when=lambda: server.machine.state.sampling_step > 3)

    with pytest.raises(LeaseLost):
        engine.generate(a_task("default", steps=30, prompt="ours"), Reports(until=stop))

    wait_until(lambda: server.run("ours").is_over)
    assert interrupts(server) == 0
    assert server.run("ours").drawn == 1


def test_canceling_a_run_that_waits_on_the_server_spares_the_one_that_runs(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    with Neighbour(server) as neighbour:
        stop = Stop(Canceled("Stop."), when=lambda: len(server.runs) == 2)
        with pytest.raises(Canceled):
            engine.generate(a_task("default", steps=1, prompt="ours"), Reports(until=stop))
        assert not server.run("ours").is_begun

    assert interrupts(server) == 0
    assert server.run(neighbour.prompt).drawn == 1
    wait_until(lambda: server.run("ours").is_over)


def test_canceling_the_run_that_runs_spares_the_one_that_waits(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    with ThreadPoolExecutor() as pool:
        stop = Stop(Canceled("Stop."), when=lambda: len(server.runs) == 2)
        ours = pool.submit(
            engine.generate,
            a_task("default", steps=150, prompt="ours"),
            Reports(until=stop),
        )
        wait_until(lambda: server.runs)
        with Neighbour(server, steps=10) as neighbour, pytest.raises(Canceled):
            ours.result()

    assert server.run("ours").was_interrupted
    assert server.run(neighbour.prompt).drawn == 1
    assert not server.run(neighbour.prompt).was_interrupted


def test_a_headless_server_is_never_interrupted(headless: Automatic1111Server) -> None:
    stop = Stop(Canceled("Stop."), when=lambda: headless.machine.state.sampling_step > 3)

    with pytest.raises(Canceled):
        engine_at(headless).generate(
            a_task("default", steps=30, prompt="ours"), Reports(until=stop)
        )

    wait_until(lambda: headless.run("ours").is_over)
    assert interrupts(headless) == 0


def test_nothing_is_sent_when_it_is_canceled_before(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    with pytest.raises(Canceled):
        engine.generate(a_task("anime"), Reports(until=Stop(Canceled("Stop."), when=lambda: True)))

    assert server.calls == []


def test_a_client_that_hangs_up_does_not_stop_the_run(server: Automatic1111Server) -> None:
    url = f"{server.url}/sdapi/v1/txt2img"
    with pytest.raises(requests.Timeout):
        requests.post(url, json={"prompt": "ours", "steps": 30}, timeout=0.1)

    wait_until(lambda: server.run("ours").is_over)
    assert server.run("ours").drawn == 1


def test_a_server_that_stops_accepting_still_answers_the_run_it_draws(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    with ThreadPoolExecutor() as pool:
        drawing = pool.submit(engine.generate, a_task("default", steps=30), Reports())
        wait_until(lambda: server.machine.state.sampling_step > 3)
        server.stop_accepting()

        assert len(drawing.result()) == 1


# Interrupted by others


@pytest.mark.parametrize("has_ui", [True, False])
@pytest.mark.parametrize("route", ["interrupt", "skip"])
@pytest.mark.parametrize("ticks_s", [0.02, 10.0], ids=["seen", "seen_afterwards"])
def test_an_interrupted_run_answers_with_pictures_that_are_not_finished(
    has_ui: bool, route: str, ticks_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.http.TICK_S", ticks_s)
    with Automatic1111Server(step_s=0.01, has_ui=has_ui) as server, ThreadPoolExecutor() as pool:
        engine = engine_at(server)
        drawing = pool.submit(engine.generate, a_task("default", steps=150), Reports())
        wait_until(lambda: server.machine.state.sampling_step > 10)

        requests.post(f"{server.url}/sdapi/v1/{route}", timeout=5)

        with pytest.raises(EngineFailed, match="interrupted"):
            drawing.result()


def test_an_interrupt_of_an_idle_server_does_not_leak_into_the_next_run(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    requests.post(f"{server.url}/sdapi/v1/interrupt", timeout=5)

    assert engine.generate(a_task("default", steps=5), Reports())


@pytest.mark.parametrize("has_ui", [True, False])
def test_an_interrupted_neighbour_does_not_fail_our_run(has_ui: bool) -> None:
    with Automatic1111Server(step_s=0.01, has_ui=has_ui) as server, ThreadPoolExecutor() as pool:
        engine = engine_at(server)
        with Neighbour(server):
            ours = pool.submit(draw, engine, "default", "ours")
            wait_until(lambda: len(server.runs) == 2)
            requests.post(f"{server.url}/sdapi/v1/interrupt", timeout=5)

        assert pixel(ours.result()) == colour("dreamscape", 1)


# Several at once


def test_two_models_at_once_never_swap(server: Automatic1111Server) -> None:
    models = {"dreamscape": "dreamscape", "sdxl_realist": "realist", "anime": "anime"}
    wanted = [(model, f"{model} {number}") for model in models for number in range(2)]

    with ThreadPoolExecutor(len(wanted)) as pool:
        # Each is a worker's own engine: one worker process knows nothing of another.
        drawn = pool.map(lambda each: draw(engine_at(server), *each), wanted)

    for (model, _), image in zip(wanted, drawn, strict=True):
        assert pixel(image) == colour(models[model], 1)
    assert [each.drawn for each in server.runs] == [1] * len(wanted)
    assert sorted(each.prompt for each in server.runs) == sorted(prompt for _, prompt in wanted)


def test_the_last_override_stays_in_memory_and_is_not_drawn_with(
    engine: Automatic1111, server: Automatic1111Server
) -> None:
    draw(engine, "anime", "first")
    assert server.machine.loaded is not None
    assert server.machine.loaded.stem == "anime"

    assert pixel(draw(engine, "default", "second")) == colour("dreamscape", 1)


def test_while_a_checkpoint_loads_questions_are_answered_and_drawing_waits() -> None:
    with Automatic1111Server(load_s=0.5) as server, ThreadPoolExecutor() as pool:
        engine, reports = engine_at(server), Reports()
        drawing = pool.submit(engine.generate, a_task("anime", seed=1), reports)
        wait_until(lambda: server.machine.loads)

        assert engine.check()
        assert not drawing.done()
        assert pixel(drawing.result()[0]) == colour("anime", 1)
        assert len(reports.shares) > 3
