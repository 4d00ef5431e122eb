"""From flat values to engines."""

from collections import Counter
from typing import Any

from darkroom.configuration import FIELDS, EngineConfig, assemble

BUILT_IN = EngineConfig(name="builtin")


def test_every_value_has_one_name_and_one_place() -> None:
    assert max(Counter(each.name for each in FIELDS).values()) == 1
    assert max(Counter(each.path for each in FIELDS).values()) == 1


def test_without_values_the_defaults_hold() -> None:
    config = assemble({}, BUILT_IN)

    assert config.generation.enabled
    assert config.generation.engine == "builtin"
    assert config.engines["builtin"] == BUILT_IN
    assert config.engines["openai"].base_url == "https://api.openai.com/v1"


def test_values_reach_their_places() -> None:
    config = assemble(
        {
            "IMAGE_GENERATION_ENGINE": "comfyui",
            "IMAGE_STEPS": 30,
            "COMFYUI_BASE_URL": "http://gpu:8188",
            "COMFYUI_WORKFLOW": "{}",
        },
        BUILT_IN,
    )

    assert (config.generation.engine, config.generation.steps) == ("comfyui", 30)
    assert config.engines["comfyui"].base_url == "http://gpu:8188"
    assert config.engines["comfyui"].options["workflow"] == "{}"


def test_an_engine_is_reached_for_edits_as_for_generation_unless_said_otherwise() -> None:
    config = assemble(
        {
            "IMAGES_OPENAI_API_KEY": "one",
            "IMAGES_OPENAI_API_VERSION": "2025-04-01",
            "IMAGES_EDIT_OPENAI_API_BASE_URL": "https://edits.example.org/v1",
        },
        BUILT_IN,
    )

    edits = config.edit_engines["openai"]
    assert edits.base_url == "https://edits.example.org/v1"
    assert edits.api_key == "one"
    assert edits.options["api_version"] == "2025-04-01"
    assert config.edit_engines["builtin"] == BUILT_IN


def test_the_nodes_of_one_workflow_are_not_looked_for_in_another() -> None:
    nodes = [{"type": "prompt", "node_ids": ["6"]}]
    values: dict[str, Any] = {"COMFYUI_WORKFLOW": "{1}", "COMFYUI_WORKFLOW_NODES": nodes}

    alike = assemble(values, BUILT_IN).edit_engines["comfyui"]
    apart = assemble({**values, "IMAGES_EDIT_COMFYUI_WORKFLOW": "{2}"}, BUILT_IN)

    assert alike.options == {"workflow": "{1}", "workflow_nodes": nodes}
    assert apart.edit_engines["comfyui"].options == {"workflow": "{2}"}


def test_a_driver_from_elsewhere_is_an_engine_too() -> None:
    config = assemble({}, BUILT_IN, others=("easel",))

    assert config.engines["easel"] == EngineConfig(name="easel")


def test_keys_do_not_show_in_a_configuration() -> None:
    assert "precious" not in repr(assemble({"IMAGES_OPENAI_API_KEY": "sk-precious"}, BUILT_IN))
