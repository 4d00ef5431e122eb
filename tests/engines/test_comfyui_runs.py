"""How a run at ComfyUI is followed, found again and stopped, whatever happens to the connection."""

from collections.abc import Iterator
from typing import Any

import pytest

from darkroom.errors import (
    Canceled,
    DarkroomError,
    DeadlineExceeded,
    EngineFailed,
    EngineUnreachable,
    LeaseLost,
    OutcomeUnknown,
)
from engines import comfyui_run
from engines.comfyui import ComfyUI
from tests.engines.builders import Reports, a_task, opened, wait_for
from tests.engines.comfyui_builders import InBackground, Stop, engine_at
from tests.engines.servers.comfyui import UUID, ComfyUIServer
from tests.engines.servers.comfyui_paint import colour_of
from tests.engines.workflows import a_workflow, without_batch


@pytest.fixture
def engine(comfy: ComfyUIServer) -> ComfyUI:
    return engine_at(comfy)


@pytest.fixture(params=["old", "new"])
def any_comfy(request: pytest.FixtureRequest) -> Iterator[ComfyUIServer]:
    with ComfyUIServer(is_old=request.param == "old") as comfy:
        yield comfy


# Ids


def test_the_upstream_id_is_known_before_the_prompt_is_posted(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    known_at: list[int] = []

    class Watch(Reports):
        def __call__(self, *args: Any, **rest: Any) -> None:
            super().__call__(*args, **rest)
            if rest.get("upstream_id"):
                known_at.append(len(comfy.calls_to("/prompt")))

    reports = Watch()
    engine.generate(a_task("dream.safetensors"), reports)

    assert known_at == [0]
    assert comfy.accepted == [reports.upstream_id]


def test_prompt_ids_are_canonical_uuids(comfy: ComfyUIServer) -> None:
    engine_at(comfy, workflow=without_batch()).generate(a_task("default", count=3), Reports())

    assert len(set(comfy.accepted)) == 3
    assert all(UUID.fullmatch(each) for each in comfy.accepted)


def test_an_old_server_that_chooses_the_id_itself_is_followed_by_that(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    comfy.ignores_prompt_id = True
    reports = Reports()

    assert engine.generate(a_task("dream.safetensors"), reports)
    assert comfy.accepted == [reports.upstream_id]


def test_every_connection_has_a_client_id_of_its_own(comfy: ComfyUIServer, engine: ComfyUI) -> None:
    for _ in range(3):
        engine.generate(a_task("dream.safetensors"), Reports())

    assert len(set(comfy.connected)) == 3


# Events and the truth behind them


def test_history_is_empty_right_after_execution_success(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    comfy.worker.history_lag_s = 0.3

    assert engine.generate(a_task("dream.safetensors"), Reports())


def test_the_socket_is_open_before_the_prompt_is_posted(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    engine.generate(a_task("dream.safetensors"), Reports())

    paths = [call.path for call in comfy.calls]
    assert paths.index("/ws") < paths.index("/prompt")


def test_progress_and_previews_are_passed_on(comfy: ComfyUIServer, engine: ComfyUI) -> None:
    comfy.worker.step_s = 0.02
    previews: list[bytes] = []

    class Watch(Reports):
        def __call__(self, *args: Any, preview: bytes | None = None, **rest: Any) -> None:
            super().__call__(*args, preview=preview, **rest)
            previews.extend([preview] if preview else [])

    reports = Watch()
    engine.generate(a_task("dream.safetensors", steps=5), reports)

    assert {0.2, 0.4, 0.6, 0.8, 1.0} & set(reports.shares)
    assert reports.shares == sorted(reports.shares)
    assert opened(previews[0]).format == "JPEG"


@pytest.mark.parametrize("trouble", ["refused", "silent", "dropped"])
def test_a_socket_in_trouble_costs_nothing_but_the_progress(
    comfy: ComfyUIServer, engine: ComfyUI, trouble: str
) -> None:
    comfy.takes_sockets = trouble != "refused"
    comfy.sockets_are_silent = trouble == "silent"
    comfy.worker.held.set()
    run = InBackground(engine, Reports())
    wait_for(comfy.worker.sampling.is_set)
    if trouble == "dropped":
        comfy.drop_sockets()

    comfy.worker.held.clear()
    run.join()

    assert len(run.images) == 1
    assert len(comfy.accepted) == 1
    assert len(comfy.connected) <= 1


def test_previews_of_a_prompt_without_a_client_id_go_to_everyone_and_are_not_ours(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    # Without a client id, its progress and previews go to everyone.
    comfy.worker.held.set()
    comfy.queue(a_workflow())
    previews: list[bytes] = []

    class Watch(Reports):
        def __call__(self, *args: Any, preview: bytes | None = None, **rest: Any) -> None:
            super().__call__(*args, preview=preview, **rest)
            previews.extend([preview] if preview else [])

    run = InBackground(engine, Watch(), prompt="a cat", seed=1)
    wait_for(lambda: len(comfy.accepted) == 2)
    comfy.worker.held.clear()
    run.join()

    ours = colour_of("a cat", "", 1, "dream.safetensors")
    assert previews
    for each in previews:
        pixel = opened(each).getpixel((8, 8))
        assert isinstance(pixel, tuple)
        assert all(abs(a - b) < 8 for a, b in zip(pixel, ours, strict=True))


def test_a_deleted_prompt_is_lost_though_no_event_says_so(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    comfy.worker.held.set()
    comfy.queue(a_workflow())
    reports = Reports()
    run = InBackground(engine, reports)
    wait_for(lambda: len(comfy.accepted) == 2)

    comfy.lose(comfy.accepted[1])
    run.join()

    assert isinstance(run.error, EngineFailed)
    assert "lost the run" in run.error.detail


def test_a_restart_is_noticed_and_the_run_reported_lost(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    comfy.worker.held.set()
    run = InBackground(engine, Reports())
    wait_for(comfy.worker.sampling.is_set)

    comfy.restart()
    run.join()

    assert isinstance(run.error, EngineFailed)
    assert "restarted" in run.error.detail


def test_a_server_that_is_away_for_a_moment_is_waited_for(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    comfy.worker.held.set()
    run = InBackground(engine, Reports())
    wait_for(comfy.worker.sampling.is_set)
    comfy.is_away = True
    calls = len(comfy.calls)
    wait_for(lambda: len(comfy.calls) > calls)

    comfy.is_away = False
    comfy.worker.held.clear()
    run.join()

    assert len(run.images) == 1


def test_a_run_on_a_server_that_stays_away_is_kept_for_later(
    comfy: ComfyUIServer, engine: ComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comfyui_run, "AWAY_S", 0.1)
    comfy.worker.held.set()
    run = InBackground(engine, Reports())
    wait_for(comfy.worker.sampling.is_set)

    comfy.is_away = True
    run.join()

    assert isinstance(run.error, OutcomeUnknown)
    assert len(comfy.accepted) == 1


def test_an_interrupted_run_looks_like_an_error_in_history_and_is_told_apart(
    any_comfy: ComfyUIServer,
) -> None:
    any_comfy.worker.held.set()
    run = InBackground(engine_at(any_comfy), Reports())
    wait_for(any_comfy.worker.sampling.is_set)

    with any_comfy.floor.changed:
        any_comfy.floor.interrupted = True
    run.join()

    assert isinstance(run.error, EngineFailed)
    assert "someone else" in run.error.detail


# Lost answers


@pytest.mark.parametrize("mode", ["lost_answer", "queued_502"])
def test_a_lost_answer_is_looked_up_and_never_posted_again(
    comfy: ComfyUIServer, engine: ComfyUI, mode: str
) -> None:
    comfy.fail(mode)

    images = engine.generate(a_task("dream.safetensors"), Reports())

    assert len(images) == 1
    assert len(comfy.accepted) == 1
    assert len(comfy.calls_to("/prompt")) == 1


def test_a_lost_request_is_looked_for_twice_and_then_free_to_try_again(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    comfy.fail("lost_request")

    with pytest.raises(EngineUnreachable):
        engine.generate(a_task("dream.safetensors"), Reports())

    assert len(comfy.calls_to("/prompt")) == 1
    assert len(comfy.calls_to("/queue")) == 2


# A worker died


def die_during(comfy: ComfyUIServer, engine: ComfyUI, **task: Any) -> str:
    """A first attempt whose worker loses the job while the server draws; its upstream id."""
    comfy.worker.held.set()
    stop = Stop(LeaseLost("Gone."))
    run = InBackground(engine, stop, **task)
    wait_for(comfy.worker.sampling.is_set)
    stop.now = True
    run.join()
    assert isinstance(run.error, LeaseLost)
    assert stop.upstream_id is not None
    return stop.upstream_id


@pytest.mark.parametrize("when", ["running", "finished"])
def test_a_run_whose_worker_died_is_gone_on_with(
    comfy: ComfyUIServer, engine: ComfyUI, when: str
) -> None:
    upstream_id = die_during(comfy, engine, prompt="a cat", count=2)
    comfy.worker.held.clear()
    if when == "finished":
        wait_for(lambda: upstream_id in comfy.floor.history)

    images = engine.generate(
        a_task("dream.safetensors", prompt="a cat", count=2, attempt=2, upstream_id=upstream_id),
        Reports(),
    )

    assert len(images) == 2
    assert comfy.accepted == comfy.worker.sampled == [upstream_id]
    assert images[0].seed == comfy.graphs[0]["3"]["inputs"]["seed"]


def test_a_run_that_waits_in_the_queue_is_gone_on_with(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    comfy.worker.held.set()
    comfy.queue(a_workflow())
    stop = Stop(LeaseLost("Gone."))
    first = InBackground(engine, stop)
    wait_for(lambda: len(comfy.accepted) == 2)
    stop.now = True
    first.join()

    second = InBackground(engine, Reports(), attempt=2, upstream_id=stop.upstream_id)
    comfy.worker.held.clear()
    second.join()

    assert len(second.images) == 1
    assert len(comfy.accepted) == 2


def test_a_run_that_is_nowhere_is_begun_anew_under_a_new_id(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    upstream_id = die_during(comfy, engine)
    comfy.restart()
    comfy.worker.held.clear()
    reports = Reports()

    images = engine.generate(
        a_task("dream.safetensors", attempt=2, upstream_id=upstream_id), reports
    )

    assert len(images) == 1
    assert reports.upstream_id not in {None, upstream_id}
    assert comfy.accepted == [upstream_id, reports.upstream_id]


@pytest.mark.parametrize("finished", [1, 2])
def test_of_several_prompts_none_is_lost_and_none_drawn_twice(
    comfy: ComfyUIServer, finished: int
) -> None:
    engine = engine_at(comfy, workflow=without_batch())
    stop = Stop(LeaseLost("Gone."))

    class DiesAfterSome(Stop):
        def __call__(self, *args: Any, **rest: Any) -> None:
            self.now = len(comfy.worker.sampled) > finished
            super().__call__(*args, **rest)

    stop = DiesAfterSome(LeaseLost("Gone."))
    with pytest.raises(LeaseLost):
        engine.generate(a_task("default", count=3), stop)

    images = engine.generate(
        a_task("default", count=3, attempt=2, upstream_id=stop.upstream_id), Reports()
    )

    seed = images[0].seed
    assert seed is not None
    assert [each.seed for each in images] == [seed, seed + 1, seed + 2]
    assert len(comfy.accepted) == len(comfy.worker.sampled) == 3


def test_a_job_that_was_lost_to_another_worker_is_not_canceled_upstream(
    any_comfy: ComfyUIServer,
) -> None:
    upstream_id = die_during(any_comfy, engine_at(any_comfy))

    assert any_comfy.floor.running is not None
    any_comfy.worker.held.clear()
    wait_for(lambda: upstream_id in any_comfy.floor.history)
    status = any_comfy.floor.history[upstream_id]["status"]["status_str"]
    assert status == "success"


# Canceling


@pytest.mark.parametrize("reason", [Canceled("Stop."), DeadlineExceeded("Too late.")])
def test_a_canceled_run_is_interrupted_and_the_next_users_goes_on(
    any_comfy: ComfyUIServer, reason: DarkroomError
) -> None:
    any_comfy.worker.held.set()
    stop = Stop(reason)
    ours = InBackground(engine_at(any_comfy), stop)
    wait_for(any_comfy.worker.sampling.is_set)
    theirs = any_comfy.queue(a_workflow(), "someone")

    stop.now = True
    ours.join()
    any_comfy.worker.held.clear()
    wait_for(lambda: theirs in any_comfy.floor.history)

    assert type(ours.error) is type(reason)
    history = any_comfy.floor.history
    assert history[any_comfy.accepted[0]]["status"]["status_str"] == "error"
    assert history[theirs]["status"]["status_str"] == "success"


def test_canceling_what_waits_interrupts_nobody_elses_run(any_comfy: ComfyUIServer) -> None:
    any_comfy.worker.held.set()
    theirs = any_comfy.queue(a_workflow(), "someone")
    wait_for(any_comfy.worker.sampling.is_set)
    stop = Stop(Canceled("Stop."))
    ours = InBackground(engine_at(any_comfy), stop)
    wait_for(lambda: len(any_comfy.accepted) == 2)

    stop.now = True
    ours.join()
    any_comfy.worker.held.clear()
    wait_for(lambda: theirs in any_comfy.floor.history)

    assert any_comfy.floor.pending == []
    assert any_comfy.worker.sampled == [theirs]
    assert any_comfy.floor.history[theirs]["status"]["status_str"] == "success"
    assert any_comfy.calls_to("/interrupt") == []


def test_two_users_at_once_get_their_own_pictures_and_cancel_their_own_job(
    any_comfy: ComfyUIServer,
) -> None:
    engine = engine_at(any_comfy)
    any_comfy.worker.held.set()
    stop = Stop(Canceled("Stop."))
    first = InBackground(engine, stop, prompt="a cat", seed=1)
    wait_for(any_comfy.worker.sampling.is_set)
    second = InBackground(engine, Reports(), prompt="a dog", seed=2)
    wait_for(lambda: len(any_comfy.accepted) == 2)
    third = InBackground(engine, Reports(), prompt="a bird", seed=3)
    wait_for(lambda: len(any_comfy.accepted) == 3)

    stop.now = True
    first.join()
    any_comfy.worker.held.clear()
    second.join()
    third.join()

    assert isinstance(first.error, Canceled)
    assert [each.seed for each in second.images] == [2]
    assert [each.seed for each in third.images] == [3]
    texts = [opened(each.images[0].data).info["prompt"] for each in (second, third)]
    assert "a dog" in texts[0]
    assert "a bird" in texts[1]


def test_a_run_that_takes_too_long_is_canceled(comfy: ComfyUIServer, engine: ComfyUI) -> None:
    comfy.worker.held.set()

    with pytest.raises(EngineFailed, match="DARKROOM_JOB_TIMEOUT_S"):
        engine.generate(a_task("dream.safetensors", timeout_s=0.5), Reports())

    wait_for(lambda: comfy.floor.history)
    assert comfy.floor.running is None


def test_canceling_before_the_prompt_is_posted_leaves_nothing_behind(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    stop = Stop(Canceled("Stop."))
    stop.now = True

    with pytest.raises(Canceled):
        engine.generate(a_task("dream.safetensors"), stop)

    assert comfy.accepted == []


def test_canceling_while_the_prompt_is_on_its_way_catches_it_when_it_comes(
    any_comfy: ComfyUIServer,
) -> None:
    any_comfy.worker.held.set()
    any_comfy.fail("late")
    stop = Stop(Canceled("Stop."))
    ours = InBackground(engine_at(any_comfy), stop)
    wait_for(any_comfy.hanging.is_set)

    stop.now = True
    wait_for(lambda: any_comfy.calls_to("/cancel"))
    any_comfy.released.set()
    ours.join()
    any_comfy.worker.held.clear()
    wait_for(lambda: any_comfy.floor.remaining == 0)

    assert isinstance(ours.error, Canceled)
    statuses = [each["status"]["status_str"] for each in any_comfy.floor.history.values()]
    assert "success" not in statuses


def test_canceling_at_the_moment_of_going_on_still_stops_the_run(
    any_comfy: ComfyUIServer,
) -> None:
    engine = engine_at(any_comfy)
    upstream_id = die_during(any_comfy, engine)
    stop = Stop(Canceled("Stop."))
    stop.now = True

    with pytest.raises(Canceled):
        engine.generate(a_task("default", attempt=2, upstream_id=upstream_id), stop)

    wait_for(lambda: upstream_id in any_comfy.floor.history)
    assert any_comfy.floor.history[upstream_id]["status"]["status_str"] == "error"


def test_going_on_asks_for_nothing_that_is_needed_only_to_begin(
    comfy: ComfyUIServer, engine: ComfyUI
) -> None:
    upstream_id = die_during(comfy, engine)
    comfy.worker.held.clear()
    comfy.models["checkpoints"] = []

    images = engine.generate(a_task("default", attempt=2, upstream_id=upstream_id), Reports())

    assert len(images) == 1
