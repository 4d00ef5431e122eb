"""Drawing with ComfyUI, against a server that validates, queues and caches like the real one."""

import re
from typing import Any

import pytest

from darkroom.configuration import FIELDS_BY_NAME, EngineConfig
from darkroom.domain import FreeSizes, MaskSupport, Size
from darkroom.errors import (
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    ModelNotOffered,
    RequestRejected,
)
from engines.catalog import Catalog
from engines.comfyui import ComfyUI
from engines.comfyui_errors import (
    ADDRESS_SETTING,
    EDIT_WORKFLOW_SETTING,
    KEY_SETTING,
    WORKFLOW_SETTING,
)
from tests.engines.builders import Reports, a_task, comfyui_config, opened
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.servers.comfyui_paint import colour_of
from tests.engines.servers.stand_in import Call, Handler, StandIn
from tests.engines.workflows import a_flux_workflow, a_workflow, without_batch


def engine_at(comfy: ComfyUIServer, **options: Any) -> ComfyUI:
    return ComfyUI(comfyui_config(comfy, **options), Catalog())


def colour(data: bytes) -> Any:
    return opened(data).getpixel((0, 0))


def test_it_is_a_free_engine_whose_runs_can_be_found_again() -> None:
    assert not ComfyUI.paid
    assert ComfyUI.resumes


def test_a_plain_server_draws_with_nothing_pasted(comfy: ComfyUIServer) -> None:
    comfy.models["checkpoints"] = ["dream.safetensors", "other.safetensors"]
    task = a_task("default", prompt="a cat", negative_prompt="dogs", size=Size(320, 192), seed=7)

    images = engine_at(comfy).generate(task, Reports())

    assert opened(images[0].data).size == (320, 192)
    assert images[0].seed == 7
    assert colour(images[0].data) == colour_of("a cat", "dogs", 7, "dream.safetensors")


def test_several_pictures_are_one_batch_with_one_seed(comfy: ComfyUIServer) -> None:
    images = engine_at(comfy).generate(a_task("dream.safetensors", count=3, seed=5), Reports())

    assert len(comfy.accepted) == 1
    assert [each.seed for each in images] == [5, 5, 5]
    assert len({each.data for each in images}) == 3


def test_a_workflow_without_a_batch_size_is_run_once_per_picture(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=without_batch())

    images = engine.generate(a_task("default", prompt="a cat", count=3, seed=5), Reports())

    assert [each.seed for each in images] == [5, 6, 7]
    assert [colour(each.data) for each in images] == [
        colour_of("a cat", "ugly", seed, "dream.safetensors") for seed in (5, 6, 7)
    ]


def test_earlier_pictures_survive_a_later_failure(comfy: ComfyUIServer) -> None:
    comfy.fail("ok", "busy")
    engine = engine_at(comfy, workflow=without_batch())

    images = engine.generate(a_task("default", count=3), Reports())

    assert len(images) == 1


def test_seed_0_is_a_seed(comfy: ComfyUIServer) -> None:
    images = engine_at(comfy).generate(a_task("dream.safetensors", seed=0), Reports())

    assert images[0].seed == 0
    assert comfy.graphs[0]["3"]["inputs"]["seed"] == 0


def test_without_a_seed_each_request_gets_a_fresh_one_and_tells_it(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy)

    images = [engine.generate(a_task("dream.safetensors"), Reports())[0] for _ in range(2)]

    assert images[0].seed != images[1].seed
    assert [each.seed for each in images] == [
        graph["3"]["inputs"]["seed"] for graph in comfy.graphs
    ]


def test_a_pasted_workflow_is_used_as_it_is_but_for_what_was_asked(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=a_workflow())

    engine.generate(a_task("default", prompt="a cat"), Reports())

    sent = comfy.graphs[0]
    before = a_workflow()
    assert sent["6"]["inputs"]["text"] == "a cat"
    assert sent["7"]["inputs"]["text"] == "ugly"
    assert sent["4"] == before["4"]
    assert sent["5"]["inputs"] == before["5"]["inputs"]
    assert sent["3"]["inputs"]["steps"] == before["3"]["inputs"]["steps"]
    assert sent["9"]["inputs"]["filename_prefix"].startswith("mine/admin_")


def test_nothing_of_one_request_leaks_into_the_next(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=a_workflow())
    everything = a_task(
        "sub/paint.ckpt",
        prompt="first",
        negative_prompt="no",
        steps=3,
        size=Size(64, 128),
        count=2,
        seed=1,
    )

    engine.generate(everything, Reports())
    engine.generate(a_task("default", prompt="second", seed=2), Reports())

    second = comfy.graphs[1]
    assert second["4"]["inputs"]["ckpt_name"] == "dream.safetensors"
    assert second["7"]["inputs"]["text"] == "ugly"
    assert second["5"]["inputs"] == {"width": 512, "height": 512, "batch_size": 1}
    assert second["3"]["inputs"]["steps"] == 4


def test_a_cached_run_never_answers_with_files_that_are_gone(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy)
    task = a_task("dream.safetensors", seed=5)
    first = engine.generate(task, Reports())
    comfy.floor.files.clear()

    second = engine.generate(task, Reports())

    assert colour(first[0].data) == colour(second[0].data)
    # It was the cache that drew it.
    assert len(comfy.worker.sampled) == 1


def test_cached_outputs_are_kept_since_a_client_id_is_sent(comfy: ComfyUIServer) -> None:
    comfy.worker.outputs_need_client_id = True
    # Nothing has a prefix here that could be made unique.
    engine = engine_at(comfy, workflow=a_workflow(save="PreviewImage"))

    for _ in range(2):
        assert engine.generate(a_task("default", seed=5), Reports())


def test_previews_are_pictures_where_nothing_is_saved(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=a_workflow(save="PreviewImage"))

    images = engine.generate(a_task("default"), Reports())

    assert opened(images[0].data).size == (512, 512)


def test_saved_pictures_come_before_previews_and_from_all_nodes(comfy: ComfyUIServer) -> None:
    graph = a_workflow()
    graph["20"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    graph["10"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["8", 0], "filename_prefix": "also"},
    }
    engine = engine_at(comfy, workflow=graph)

    images = engine.generate(a_task("default", count=2, seed=3), Reports())

    names = [call.query["filename"][0] for call in comfy.calls_to("/view")]
    assert len(images) == 4
    assert [name.split("_")[0] for name in names] == ["admin", "admin", "also", "also"]


def test_the_stored_bytes_are_untouched(comfy: ComfyUIServer) -> None:
    images = engine_at(comfy).generate(a_task("dream.safetensors"), Reports())

    saved = [data for key, data in comfy.floor.files.items() if key[0] == "output"]
    assert [each.data for each in images] == saved
    assert "prompt" in opened(images[0].data).info


def test_the_key_is_sent_with_every_call_and_the_handshake() -> None:
    with ComfyUIServer(key="token-for-the-proxy") as comfy:
        engine_at(comfy).generate(a_task("dream.safetensors"), Reports())

        assert len(comfy.connected) == 1
        assert {call.headers["authorization"] for call in comfy.calls} == {
            "Bearer token-for-the-proxy"
        }


def test_an_empty_key_is_not_sent(comfy: ComfyUIServer) -> None:
    engine_at(comfy).generate(a_task("dream.safetensors"), Reports())

    assert not any("authorization" in call.headers for call in comfy.calls)


def test_a_foreign_origin_is_turned_away_so_no_call_and_no_handshake_names_one(
    comfy: ComfyUIServer,
) -> None:
    engine_at(comfy).generate(a_task("dream.safetensors"), Reports())

    assert len(comfy.connected) == 1
    assert not any("origin" in call.headers for call in comfy.calls)


def test_a_login_in_the_address_signs_calls_and_is_in_none_of_them(
    comfy: ComfyUIServer,
) -> None:
    address = comfy.origin.replace("//", "//me:a%20secret@")
    engine = ComfyUI(EngineConfig(name="comfyui", base_url=address), Catalog())

    engine.generate(a_task("dream.safetensors"), Reports())

    assert {call.headers["authorization"] for call in comfy.calls} == {"Basic bWU6YSBzZWNyZXQ="}
    assert not any("secret" in call.path for call in comfy.calls)


# Models


def test_without_asking_anyone_there_is_one_model() -> None:
    engine = ComfyUI(EngineConfig(name="comfyui", base_url="http://127.0.0.1:9"), Catalog())

    assert [each.id for each in engine.models()] == ["default"]


@pytest.mark.parametrize("lists_models", [True, False])
def test_models_are_the_checkpoints_of_the_server(comfy: ComfyUIServer, lists_models: bool) -> None:
    comfy.lists_models = lists_models

    models = engine_at(comfy).list_models()

    assert [each.id for each in models] == ["default", *comfy.models["checkpoints"]]


@pytest.mark.parametrize(
    ("loader", "listed"),
    [("UNETLoader", "flux.safetensors"), ("UnetLoaderGGUF", "flux-q4.gguf")],
)
def test_both_forms_of_combo_inputs_are_read(
    comfy: ComfyUIServer, loader: str, listed: str
) -> None:
    engine = engine_at(comfy, workflow=a_flux_workflow(loader))

    assert [each.id for each in engine.list_models()] == ["default", listed]


def test_a_model_is_put_into_the_workflows_loader(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=a_workflow())

    engine.generate(a_task("sub/paint.ckpt"), Reports())

    assert comfy.graphs[0]["4"]["inputs"]["ckpt_name"] == "sub/paint.ckpt"


def test_a_model_the_server_lacks_is_named(comfy: ComfyUIServer) -> None:
    with pytest.raises(ModelNotOffered, match=r"no model 'nope\.safetensors'.*choose one"):
        engine_at(comfy).generate(a_task("nope.safetensors"), Reports())


def test_a_server_without_checkpoints_says_where_to_put_one(comfy: ComfyUIServer) -> None:
    comfy.models["checkpoints"] = []
    engine = engine_at(comfy)

    with pytest.raises(Misconfigured, match="models/checkpoints"):
        engine.generate(a_task("default"), Reports())
    with pytest.raises(Misconfigured, match="models/checkpoints"):
        engine.check()


def test_without_a_loader_no_other_model_can_be_asked_for(comfy: ComfyUIServer) -> None:
    graph = a_workflow()
    graph["3"]["inputs"]["model"] = ["99", 0]

    engine = engine_at(comfy, workflow=graph)

    assert engine.model("default") is not None
    assert engine.model("dream.safetensors") is None


# Capabilities


def test_capabilities_of_the_workflow_that_is_shipped(comfy: ComfyUIServer) -> None:
    model = engine_at(comfy).model("any.safetensors")

    assert model is not None
    capabilities = model.capabilities
    assert capabilities.sizes == FreeSizes(multiple=8)
    assert capabilities.negative_prompt
    assert capabilities.seed
    assert capabilities.max_steps == 10_000
    assert capabilities.max_input_images == 1
    assert capabilities.mask is MaskSupport.EXACT


def test_capabilities_of_a_workflow_without_a_negative_prompt(comfy: ComfyUIServer) -> None:
    capabilities = engine_at(comfy, workflow=a_flux_workflow()).models()[0].capabilities

    assert not capabilities.negative_prompt
    assert capabilities.seed
    assert capabilities.sizes == FreeSizes(multiple=16)


# What is wrong with the workflow


UI_FORMAT = {
    "last_node_id": 9,
    "nodes": [{"id": 3, "type": "KSampler"}],
    "links": [],
    "version": 0.4,
}


@pytest.mark.parametrize(
    ("pasted", "reason"),
    [
        (UI_FORMAT, r"not in API format.*Export \(API\)"),
        ("[]]", "not JSON"),
        ([1], "no workflow"),
        ({"a": 1}, "no nodes"),
        ({"1": {"class_type": "PreviewImage", "inputs": {}}}, "takes the prompt"),
    ],
)
def test_a_workflow_that_cannot_be_used_says_why_and_what_to_do(
    comfy: ComfyUIServer, pasted: Any, reason: str
) -> None:
    engine = engine_at(comfy, workflow=pasted)

    assert engine.missing is not None
    assert re.search(reason, engine.missing)
    assert WORKFLOW_SETTING in engine.missing


def test_settings_are_named_as_they_are() -> None:
    for each in (ADDRESS_SETTING, KEY_SETTING, WORKFLOW_SETTING, EDIT_WORKFLOW_SETTING):
        assert each.removeprefix("DARKROOM_") in FIELDS_BY_NAME


@pytest.mark.parametrize("base_url", ["", "comfy:8188", "ftp://comfy"])
def test_without_a_usable_address_it_says_which_setting(base_url: str) -> None:
    engine = ComfyUI(EngineConfig(name="comfyui", base_url=base_url), Catalog())

    assert engine.missing is not None
    assert ADDRESS_SETTING in engine.missing


@pytest.mark.parametrize("is_old", [True, False])
def test_a_node_the_server_lacks_is_named_with_what_to_install(is_old: bool) -> None:
    graph = a_workflow()
    graph["8"]["class_type"] = "VAEDecodeTurbo"
    with ComfyUIServer(is_old=is_old) as comfy:
        engine = engine_at(comfy, workflow=graph)

        for ask in (engine.check, lambda: engine.generate(a_task("default"), Reports())):
            with pytest.raises(Misconfigured, match=r"'VAEDecodeTurbo'.*install"):
                ask()


def test_200_with_node_errors_is_a_failure_and_nothing_runs_on(comfy: ComfyUIServer) -> None:
    graph = a_workflow()
    graph["20"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["404", 0], "filename_prefix": "x"},
    }
    comfy.worker.held.set()

    with pytest.raises(Misconfigured, match="node 20"):
        engine_at(comfy, workflow=graph).generate(a_task("default"), Reports())

    assert comfy.accepted
    assert comfy.calls_to("/cancel")


def test_a_value_out_of_range_is_the_callers_matter(comfy: ComfyUIServer) -> None:
    with pytest.raises(RequestRejected, match="'width' of node 5") as refused:
        engine_at(comfy).generate(a_task("dream.safetensors", size=Size(20_000, 64)), Reports())

    assert refused.value.param == "width"
    assert refused.value.upstream_code == "value_bigger_than_max"


def test_a_websocket_saver_leaves_empty_outputs_and_is_named(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=a_workflow(save="SaveImageWebsocket"))

    with pytest.raises(Misconfigured, match=r"SaveImageWebsocket.*SaveImage"):
        engine.generate(a_task("default"), Reports())


def test_a_run_without_pictures_names_the_last_nodes(comfy: ComfyUIServer) -> None:
    engine = engine_at(comfy, workflow=a_workflow(save="SaveVideo"))

    with pytest.raises(EngineFailed, match=r"9 \(SaveVideo\).*SaveImage"):
        engine.generate(a_task("default"), Reports())


# What goes wrong while it runs


def broken_with(kind: str, message: str) -> dict[str, Any]:
    graph = a_workflow()
    graph["30"] = {
        "class_type": "BreakWith",
        "inputs": {"latent": ["5", 0], "exception_type": kind, "message": message},
    }
    graph["3"]["inputs"]["latent_image"] = ["30", 0]
    return graph


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 9 GiB.\nTIPS: …"),
        ("RuntimeError", "Allocation on device 0 would exceed allowed memory."),
    ],
)
def test_out_of_memory_says_so_and_makes_room_for_the_next_try(
    comfy: ComfyUIServer, kind: str, message: str
) -> None:
    engine = engine_at(comfy, workflow=broken_with(kind, message))

    with pytest.raises(EngineFailed, match=r"out of memory.*smaller"):
        engine.generate(a_task("default"), Reports())

    assert comfy.calls_to("/free")[0].json() == {"unload_models": True, "free_memory": True}


def test_a_failure_is_told_without_paths_and_tracebacks(comfy: ComfyUIServer) -> None:
    message = "cannot open /srv/comfy/models/x.safetensors\nTraceback (most recent call last)"
    engine = engine_at(comfy, workflow=broken_with("FileNotFoundError", message))

    with pytest.raises(EngineFailed, match="FileNotFoundError: cannot open") as failed:
        engine.generate(a_task("default"), Reports())

    assert "/srv" not in failed.value.detail
    assert "Traceback" not in failed.value.detail
    assert failed.value.upstream_code == "FileNotFoundError"


def test_a_corrupt_checkpoint_is_told_with_its_node(comfy: ComfyUIServer) -> None:
    with pytest.raises(EngineFailed, match=r"node 4 \(CheckpointLoaderSimple\)"):
        engine_at(comfy).generate(a_task("rotten.safetensors"), Reports())


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("busy", EngineBusy), ("broken", EngineFailed), ("html_502", EngineUnreachable)],
)
def test_answers_of_proxies_are_told_apart(
    comfy: ComfyUIServer, mode: str, expected: type[EngineError]
) -> None:
    comfy.fail(mode)

    with pytest.raises(expected):
        engine_at(comfy).generate(a_task("dream.safetensors"), Reports())

    assert comfy.accepted == []


def test_a_wrong_key_names_the_setting() -> None:
    with ComfyUIServer(key="right-token") as comfy:
        engine = ComfyUI(
            EngineConfig(name="comfyui", base_url=comfy.origin, api_key="wrong-token"), Catalog()
        )

        for ask in (engine.check, lambda: engine.generate(a_task("default"), Reports())):
            with pytest.raises(Misconfigured, match=KEY_SETTING):
                ask()


# Check


def test_check_says_which_version_answers(comfy: ComfyUIServer) -> None:
    assert "ComfyUI 0.38.1 with 3 models" in engine_at(comfy).check()


def test_check_finds_that_the_workflows_model_is_gone(comfy: ComfyUIServer) -> None:
    comfy.models["checkpoints"] = ["other.safetensors"]

    with pytest.raises(ModelNotOffered, match=r"dream\.safetensors"):
        engine_at(comfy, workflow=a_workflow()).check()


def test_check_finds_that_nobody_is_there() -> None:
    engine = ComfyUI(EngineConfig(name="comfyui", base_url="http://127.0.0.1:9"), Catalog())

    with pytest.raises(EngineUnreachable):
        engine.check()


class SomeWebSite(Handler):
    """Answers everything with its start page."""

    def answer(self, call: Call) -> None:
        self.reply(200, b"<!doctype html><title>Welcome</title>", "text/html")


def test_another_server_is_not_taken_for_comfyui() -> None:
    with StandIn(SomeWebSite) as server:
        engine = ComfyUI(EngineConfig(name="comfyui", base_url=server.origin), Catalog())

        for ask in (engine.check, engine.list_models):
            with pytest.raises(Misconfigured, match=ADDRESS_SETTING):
                ask()


@pytest.mark.parametrize("base", ["", "/", "/api"])
def test_addresses_are_taken_as_people_paste_them(comfy: ComfyUIServer, base: str) -> None:
    config = EngineConfig(name="comfyui", base_url=f" {comfy.origin}{base} ")

    assert ComfyUI(config, Catalog()).check()
