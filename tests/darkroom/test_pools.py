"""Lists of servers as an admin writes them, and what follows from them."""

from typing import Any

import pytest

from darkroom.configuration import EngineConfig, Value, assemble
from darkroom.pools import read_servers

BUILT_IN = EngineConfig(name="builtin")


def members(operation: str = "generate", **values: Value) -> list[tuple[Any, ...]]:
    config = assemble(values, BUILT_IN)
    engines = config.engines if operation == "generate" else config.edit_engines
    return [
        (each.server, each.base_url, each.api_key, each.max_in_flight)
        for each in engines["comfyui"].members()
    ]


def test_an_engine_without_a_list_is_one_server_without_a_name() -> None:
    assert members(COMFYUI_BASE_URL="http://gpu:8188") == [(None, "http://gpu:8188", "", None)]


def test_what_a_server_does_not_say_is_as_for_the_engine() -> None:
    servers = [{"base_url": "http://gpu-1:8188"}, {"name": "b", "api_key": "k", "max_in_flight": 2}]

    found = members(
        COMFYUI_BASE_URL="http://gpu:8188",
        COMFYUI_API_KEY="shared",
        COMFYUI_MAX_IN_FLIGHT=7,
        COMFYUI_SERVERS=servers,
    )

    assert found == [
        ("gpu-1-8188", "http://gpu-1:8188", "shared", 7),
        ("b", "http://gpu:8188", "k", 2),
    ]


def test_edits_with_an_address_of_their_own_go_there_alone() -> None:
    servers: Value = [{"base_url": "http://gpu-1:8188"}, {"base_url": "http://gpu-2:8188"}]

    assert len(members("edit", COMFYUI_SERVERS=servers)) == 2
    own = members("edit", COMFYUI_SERVERS=servers, IMAGES_EDIT_COMFYUI_BASE_URL="http://e:1")
    assert [each[:2] for each in own] == [(None, "http://e:1")]


def test_servers_without_a_name_get_one() -> None:
    entries = [{"api_key": "k1"}, {"base_url": "https://user:pw@host:81/v1"}, {"name": "mine"}]

    assert [each.name for each in read_servers(entries)] == ["server-1", "host-81", "mine"]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (["http://gpu-1"], "list of objects"),
        ([{"url": "http://gpu-1"}], "has no 'url'"),
        ([{"name": "a/b"}], "name must have"),
        ([{"api_key": 7}], "must be a string"),
        ([{"max_in_flight": 0}], "from 1 to"),
        ([{"name": "a"}, {"name": "a"}], "two servers are called 'a'"),
    ],
)
def test_a_list_that_is_none_is_told_in_words(entries: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_servers(entries)


def test_keys_of_servers_are_not_shown() -> None:
    config = assemble({"COMFYUI_SERVERS": [{"api_key": "token-1"}]}, BUILT_IN)

    assert "token-1" not in repr(config)
