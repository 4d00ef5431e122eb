"""Finding which nodes of a workflow take what, in workflows of many shapes."""

from typing import Any

import pytest

from darkroom.configuration import EngineConfig
from darkroom.domain import Operation
from engines.catalog import Catalog
from engines.comfyui import ComfyUI
from engines.comfyui_mapping import map_nodes
from engines.comfyui_workflow import UnusableWorkflow, Workflow
from tests.engines.workflows import (
    Graph,
    a_flux_workflow,
    a_qwen_edit_workflow,
    a_workflow,
    an_inpaint_workflow,
    node,
)


def roles(graph: Graph, listed: Any = ()) -> dict[str, list[tuple[str, str]]]:
    """Role to nodes and their inputs."""
    described = map_nodes(Workflow(graph), listed).described()
    return {
        role: [(node_id, each["key"]) for each in places for node_id in each["node_ids"]]
        for role, places in described.items()
    }


def test_the_default_workflow() -> None:
    assert roles(a_workflow()) == {
        "prompt": [("6", "text")],
        "negative_prompt": [("7", "text")],
        "model": [("4", "ckpt_name")],
        "width": [("5", "width")],
        "height": [("5", "height")],
        "n": [("5", "batch_size")],
        "steps": [("3", "steps")],
        "seed": [("3", "seed")],
    }


def test_guider_noise_and_scheduler_are_followed_through_value_nodes() -> None:
    assert roles(a_flux_workflow()) == {
        "prompt": [("6", "text")],
        "model": [("12", "unet_name")],
        "width": [("34", "value")],
        "height": [("35", "value")],
        "n": [("27", "batch_size")],
        "steps": [("17", "steps")],
        "seed": [("25", "noise_seed")],
    }


def test_one_value_node_for_both_edges_does_not_make_every_picture_square() -> None:
    graph = a_flux_workflow()
    graph["27"]["inputs"]["height"] = ["34", 0]

    found = roles(graph)

    assert found["width"] == [("27", "width")]
    assert found["height"] == [("27", "height")]


def test_a_cfg_guider_has_a_negative_prompt() -> None:
    graph = a_flux_workflow()
    graph["22"] = node("CFGGuider", model=["30", 0], positive=["26", 0], negative=["7", 0], cfg=3.0)
    graph["7"] = node("CLIPTextEncode", text="", clip=["11", 0])

    assert roles(graph)["negative_prompt"] == [("7", "text")]


@pytest.mark.parametrize("by", ["same node", "zero", "same text"])
def test_without_a_negative_text_of_its_own_there_is_no_negative_prompt(by: str) -> None:
    graph = a_workflow()
    if by == "same node":
        graph["3"]["inputs"]["negative"] = ["6", 0]
    elif by == "zero":
        graph["7"] = node("ConditioningZeroOut", conditioning=["6", 0])
    else:
        graph["20"] = node("PrimitiveStringMultiline", value="both")
        graph["6"]["inputs"]["text"] = graph["7"]["inputs"]["text"] = ["20", 0]

    assert "negative_prompt" not in roles(graph)


def test_a_control_net_passes_both_sides_through_different_outputs() -> None:
    graph = a_workflow()
    graph["40"] = node("LoadImage", image="pose.png")
    graph["41"] = node("ControlNetLoader", control_net_name="pose")
    graph["42"] = node(
        "ControlNetApplyAdvanced",
        positive=["6", 0],
        negative=["7", 0],
        control_net=["41", 0],
        image=["40", 0],
        strength=1,
        start_percent=0,
        end_percent=1,
    )
    graph["3"]["inputs"] |= {"positive": ["42", 0], "negative": ["42", 1]}

    found = roles(graph)

    assert found["prompt"] == [("6", "text")]
    assert found["negative_prompt"] == [("7", "text")]
    assert found["image"] == [("40", "image")]


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("CLIPTextEncodeSDXL", ["text_g", "text_l"]),
        ("CLIPTextEncodeFlux", ["clip_l", "t5xxl"]),
        ("CLIPTextEncodeSD3", ["clip_l", "clip_g", "t5xxl"]),
        ("CLIPTextEncodeHunyuanDiT", ["bert", "mt5xl"]),
        ("CLIPTextEncodeLumina2", ["user_prompt"]),
        ("SomeAddOnsEncoder", ["caption"]),
    ],
)
def test_text_encoders_with_inputs_of_their_own(kind: str, keys: list[str]) -> None:
    graph = a_workflow()
    graph["6"] = node(kind, clip=["4", 1], **dict.fromkeys(keys, "x"))

    found = roles(graph)["prompt"]

    assert sorted(found) == sorted(("6", key) for key in keys)


def test_a_text_that_is_put_together_by_nodes_gives_way_to_the_prompt() -> None:
    graph = a_workflow()
    graph["30"] = node("StringConcatenate", string_a="a", string_b="b", delimiter=" ")
    graph["6"]["inputs"]["text"] = ["30", 0]

    assert roles(graph)["prompt"] == [("6", "text")]


def test_the_model_is_found_behind_whatever_changes_it() -> None:
    graph = a_workflow()
    graph["50"] = node(
        "LoraLoader",
        model=["4", 0],
        clip=["4", 1],
        lora_name="x",
        strength_model=1,
        strength_clip=1,
    )
    graph["3"]["inputs"]["model"] = ["50", 0]

    assert roles(graph)["model"] == [("4", "ckpt_name")]


def a_second_pass(**inputs: Any) -> Graph:
    """A graph with another sampler after the first, as for upscaling."""
    graph = a_workflow()
    graph["60"] = node("LatentUpscaleBy", samples=["3", 0], scale_by=1.5)
    graph["61"] = {
        **graph["3"],
        "inputs": {**graph["3"]["inputs"], "latent_image": ["60", 0], **inputs},
    }
    graph["8"]["inputs"]["samples"] = ["61", 0]
    return graph


def test_a_second_pass_with_the_same_seed_goes_along() -> None:
    found = roles(a_second_pass())

    assert found["seed"] == [("3", "seed"), ("61", "seed")]
    assert found["width"] == [("5", "width")]


def test_a_second_pass_with_a_seed_and_steps_of_its_own_keeps_them() -> None:
    found = roles(a_second_pass(seed=1, steps=9))

    assert found["seed"] == [("3", "seed")]
    assert found["steps"] == [("3", "steps")]


def test_both_passes_count_for_the_progress() -> None:
    assert map_nodes(Workflow(a_second_pass())).samplers == ("3", "61")


def test_samplers_that_share_their_steps_leave_them_as_they_are() -> None:
    graph = a_second_pass()
    for sampler, (start, end) in {"3": (0, 3), "61": (3, 10_000)}.items():
        inputs = graph[sampler]["inputs"]
        inputs["noise_seed"] = inputs.pop("seed")
        inputs |= {"start_at_step": start, "end_at_step": end}
        graph[sampler]["class_type"] = "KSamplerAdvanced"

    found = roles(graph)

    assert "steps" not in found
    assert found["seed"] == [("3", "noise_seed"), ("61", "noise_seed")]


def test_a_first_pass_of_some_steps_keeps_those_of_the_second_too() -> None:
    graph = a_second_pass()
    graph["3"]["inputs"] |= {"start_at_step": 0, "end_at_step": 2}

    assert "steps" not in roles(graph)


def test_an_upscaler_that_draws_on_pictures_takes_a_prompt() -> None:
    graph = a_qwen_edit_workflow()
    inputs = graph["3"]["inputs"]
    del inputs["latent_image"]
    graph["3"] = node("UltimateSDUpscale", image=["9", 0], **inputs)
    graph["60"]["inputs"]["images"] = ["3", 0]

    found = roles(graph)

    assert found["prompt"] == [("6", "prompt")]
    assert found["seed"] == [("3", "seed")]


def test_nodes_that_are_told_the_size_hear_of_it() -> None:
    graph = a_workflow()
    sizes = {"width": 1024, "height": 1024, "target_width": 1024, "target_height": 1024}
    graph["6"] = node(
        "CLIPTextEncodeSDXL", clip=["4", 1], text_g="", text_l="", crop_w=0, crop_h=0, **sizes
    )

    found = roles(graph)

    assert found["width"] == [("5", "width"), ("6", "width"), ("6", "target_width")]


def test_scaling_a_loaded_picture_is_its_size() -> None:
    graph = a_qwen_edit_workflow()
    graph["70"] = node(
        "ImageScale",
        image=["9", 0],
        upscale_method="lanczos",
        width=1024,
        height=1024,
        crop="center",
    )
    graph["11"]["inputs"]["pixels"] = ["70", 0]

    assert roles(graph)["width"] == [("70", "width")]


def test_a_size_that_is_computed_is_not_replaced() -> None:
    graph = a_qwen_edit_workflow()
    graph["71"] = node("GetImageSize", image=["9", 0])
    graph["5"] = node("EmptyLatentImage", width=["71", 0], height=["71", 1], batch_size=1)
    graph["3"]["inputs"]["latent_image"] = ["5", 0]

    found = roles(graph)

    assert "width" not in found
    assert found["n"] == [("5", "batch_size")]


def test_a_repeated_latent_is_the_batch() -> None:
    graph = a_qwen_edit_workflow()
    graph["72"] = node("RepeatLatentBatch", samples=["11", 0], amount=1)
    graph["3"]["inputs"]["latent_image"] = ["72", 0]

    assert roles(graph)["n"] == [("72", "amount")]


def test_the_loader_that_gives_the_mask_takes_the_first_picture() -> None:
    graph = an_inpaint_workflow()
    graph["2"] = node("LoadImage", image="style.png")
    graph["6"] = node("TextEncodeQwenImageEditPlus", prompt="", clip=["4", 1], image1=["2", 0])

    found = roles(graph)

    assert found["image"] == [("10", "image"), ("2", "image")]
    assert found["mask"] == [("10", "image")]


def test_loaders_come_in_the_order_of_their_numbers() -> None:
    graph = a_qwen_edit_workflow()
    graph["57:3"] = graph.pop("10")
    for each in ("6", "7"):
        graph[each]["inputs"]["image2"] = ["57:3", 0]

    assert roles(graph)["image"] == [("9", "image"), ("57:3", "image")]


def test_a_workflow_that_goes_in_circles_is_walked_to_an_end() -> None:
    graph = a_workflow()
    graph["5"] = node("LatentUpscaleBy", samples=["3", 0], scale_by=1)
    graph["4"]["inputs"]["ckpt_name"] = ["4", 0]

    assert roles(graph)["prompt"] == [("6", "text")]


# What an admin lists


def test_listed_nodes_go_before_what_was_inferred() -> None:
    graph = a_workflow()
    graph["80"] = node("CLIPTextEncode", text="", clip=["4", 1])
    listed = [
        {"type": "prompt", "key": "text", "node_ids": ["80"]},
        {"type": "n", "key": "batch_size", "node_ids": ["5"]},
    ]

    found = roles(graph, listed)

    assert found["prompt"] == [("80", "text")]
    assert found["negative_prompt"] == [("7", "text")]


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"type": "prompt", "node_ids": ["6"]}, ("6", "text")),
        ({"type": "model", "key": "", "node_ids": ["4"]}, ("4", "ckpt_name")),
        ({"type": "seed", "key": "text", "node_ids": "3"}, ("3", "seed")),
        ({"type": "n", "key": None, "node_ids": [5]}, ("5", "batch_size")),
        ({"type": "steps", "key": "steps", "node_ids": [" 3 "]}, ("3", "steps")),
        ({"type": "height", "key": "width", "node_ids": ["5"]}, ("5", "width")),
    ],
)
def test_entries_are_read_as_open_webui_writes_them(entry: Any, place: tuple[str, str]) -> None:
    assert roles(a_workflow(), [entry])[entry["type"]] == [place]


def test_entries_without_nodes_are_left_to_inference() -> None:
    empty = [
        {"type": each, "key": "text", "node_ids": ids}
        for each, ids in (("prompt", []), ("model", ""), ("seed", None), ("steps", [""]))
    ]

    assert roles(a_workflow(), empty) == roles(a_workflow())


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"type": "prompt", "node_ids": ["99"]}, "'99' for prompt"),
        ({"type": "colour", "node_ids": ["6"]}, "type 'colour'; there are prompt"),
        ("6", "must be an object"),
    ],
)
def test_a_list_that_does_not_fit_says_what_is_wrong(entry: Any, words: str) -> None:
    with pytest.raises(UnusableWorkflow, match=words):
        roles(a_workflow(), [entry])


def test_the_engine_describes_its_nodes_without_asking_anyone() -> None:
    engine = ComfyUI(
        EngineConfig(
            name="comfyui", base_url="http://127.0.0.1:9", options={"workflow": a_workflow()}
        ),
        Catalog(),
    )

    described = engine.describe(Operation.GENERATE)

    assert described["prompt"] == [{"node_ids": ["6"], "key": "text"}]
    assert described["n"] == [{"node_ids": ["5"], "key": "batch_size"}]


# Reading


@pytest.mark.parametrize(
    "wrap",
    [
        lambda graph: graph,
        lambda graph: {"prompt": graph, "client_id": "x"},
        lambda graph: {"output": graph, "workflow": {"nodes": [], "links": []}},
        lambda graph: {**graph, "_comment": "mine", "version": 0.4},
    ],
)
def test_wrappers_that_people_paste_are_taken_off(wrap: Any) -> None:
    workflow = Workflow.read(wrap(a_workflow()))

    assert workflow == Workflow(a_workflow())


@pytest.mark.parametrize("nothing", [None, "", "  ", {}, "{}"])
def test_nothing_pasted_is_nothing(nothing: Any) -> None:
    assert Workflow.read(nothing) is None
