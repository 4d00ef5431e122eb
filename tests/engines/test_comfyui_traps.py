"""What ComfyUI does that few would expect, and what the driver makes of it."""

import pytest
import requests

from darkroom.configuration import EngineConfig
from darkroom.domain import InputImage, Operation, Size
from darkroom.errors import Canceled, EngineFailed
from engines.catalog import Catalog
from engines.comfyui import ComfyUI
from engines.fitting import fit
from tests.engines.builders import Reports, a_request, a_task, opened, wait_for
from tests.engines.comfyui_builders import InBackground, Stop, engine_at
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.workflows import a_workflow

# Addresses and answers


@pytest.mark.parametrize("base", ["", "/api"])
def test_everything_is_served_at_the_root_and_below_api(comfy: ComfyUIServer, base: str) -> None:
    config = EngineConfig(name="comfyui", base_url=comfy.origin + base)
    engine = ComfyUI(config, Catalog())
    comfy.worker.held.set()
    stop = Stop(Canceled("Stop."))
    run = InBackground(engine, stop)
    wait_for(comfy.worker.sampling.is_set)

    stop.now = True
    run.join()
    comfy.worker.held.clear()

    # It was canceled by its id, so the address of the jobs was right, too.
    assert comfy.calls_to("/interrupt") == []
    assert engine.generate(a_task("dream.safetensors"), Reports())


def test_a_500_in_plain_text_says_where_to_look(comfy: ComfyUIServer) -> None:
    comfy.fail("broken")

    with pytest.raises(EngineFailed, match="its own log says why") as failed:
        engine_at(comfy).generate(a_task("dream.safetensors"), Reports())

    assert failed.value.upstream_status == 500


def test_a_picture_that_is_gone_answers_404_with_an_empty_body(comfy: ComfyUIServer) -> None:
    comfy.keeps_files = False

    with pytest.raises(EngineFailed, match="does not have it any more"):
        engine_at(comfy).generate(a_task("dream.safetensors"), Reports())


# What a workflow may hold


def test_a_seed_of_minus_one_would_be_refused_and_is_never_sent(comfy: ComfyUIServer) -> None:
    graph = a_workflow()
    graph["3"]["inputs"]["seed"] = -1

    images = engine_at(comfy, workflow=graph).generate(a_task("default"), Reports())

    sent = comfy.graphs[0]["3"]["inputs"]["seed"]
    assert sent == images[0].seed
    assert 0 <= sent < 2**64


def test_a_width_of_65_would_be_accepted_and_drawn_smaller_so_it_is_fitted_before(
    comfy: ComfyUIServer,
) -> None:
    engine = engine_at(comfy)
    model = engine.model("dream.safetensors")
    assert model is not None

    fitted = fit(a_request(size=Size(65, 65)), model)
    images = engine.generate(a_task("dream.safetensors", size=fitted.request.size), Reports())

    drawn = opened(images[0].data).size
    assert fitted.request.size == Size(*drawn)
    assert "cannot draw 65x65" in fitted.warnings[0]


def test_a_prefix_that_leaves_the_folder_passes_validation_and_fails_as_it_runs(
    comfy: ComfyUIServer,
) -> None:
    graph = a_workflow()
    graph["9"]["inputs"]["filename_prefix"] = "../../x"

    with pytest.raises(EngineFailed, match=r"node 9 \(SaveImage\)") as failed:
        engine_at(comfy, workflow=graph).generate(a_task("default"), Reports())

    assert "/srv" not in failed.value.detail


def test_a_corrupt_picture_is_taken_as_an_upload_and_fails_as_it_is_loaded(
    comfy: ComfyUIServer,
) -> None:
    corrupt = InputImage(data=b"\x89PNG, or not", content_type="image/png", size=Size(64, 64))
    task = a_task("dream.safetensors", images=(corrupt,), operation=Operation.EDIT)

    with pytest.raises(EngineFailed, match=r"\(LoadImage\)") as failed:
        engine_at(comfy).generate(task, Reports())

    assert len(comfy.accepted) == 1
    assert "/srv" not in failed.value.detail


# Events


def test_every_connection_asks_anew_for_previews_that_name_their_prompt(
    comfy: ComfyUIServer,
) -> None:
    engine = engine_at(comfy)
    for _ in range(2):
        engine.generate(a_task("dream.safetensors"), Reports())

    wait_for(lambda: comfy.flagged == comfy.connected)
    assert len(comfy.connected) == 2


def test_previews_of_binary_type_1_are_shown_where_no_others_are_known(
    comfy: ComfyUIServer,
) -> None:
    comfy.takes_flags = False
    comfy.worker.step_s = 0.02
    reports = Reports()

    engine_at(comfy).generate(a_task("dream.safetensors", steps=5), reports)

    assert comfy.flagged == []
    assert opened(reports.previews[0]).format == "JPEG"


# Stopping


def test_an_interrupt_of_an_idle_server_does_not_leak_into_the_next_run(
    comfy: ComfyUIServer,
) -> None:
    requests.post(f"{comfy.origin}/interrupt", json={}, timeout=5)

    assert engine_at(comfy).generate(a_task("dream.safetensors"), Reports())


def test_old_builds_answer_404_to_canceling_a_job_and_are_interrupted_instead() -> None:
    with ComfyUIServer(is_old=True) as comfy:
        comfy.worker.held.set()
        stop = Stop(Canceled("Stop."))
        run = InBackground(engine_at(comfy), stop)
        wait_for(comfy.worker.sampling.is_set)

        stop.now = True
        run.join()
        wait_for(lambda: comfy.floor.history)

        assert isinstance(run.error, Canceled)
        (asked,) = comfy.calls_to("/interrupt")
        assert asked.json() == {"prompt_id": comfy.accepted[0]}


def test_deleting_a_running_prompt_changes_nothing_so_it_is_interrupted() -> None:
    with ComfyUIServer(is_old=True) as comfy:
        comfy.worker.held.set()
        stop = Stop(Canceled("Stop."))
        run = InBackground(engine_at(comfy), stop)
        wait_for(comfy.worker.sampling.is_set)

        answer = requests.post(f"{comfy.origin}/queue", json={"delete": comfy.accepted}, timeout=5)
        assert answer.status_code == 200
        assert comfy.floor.running is not None
        stop.now = True
        run.join()
        wait_for(lambda: comfy.floor.history)

        status = comfy.floor.history[comfy.accepted[0]]["status"]
        assert status["messages"][-1][0] == "execution_interrupted"


# Outputs


def test_previews_are_of_type_temp_and_fetched_from_there(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=a_workflow(save="PreviewImage"))

    engine.generate(a_task("default"), Reports())

    assert [call.query["type"] for call in comfy.calls_to("/view")] == [["temp"]]
