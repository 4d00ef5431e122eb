"""What is taken from the messages of ComfyUI's WebSocket, and what is not ours to take."""

import json
import struct
from typing import Any

import pytest

from engines.comfyui_events import Events

OURS, THEIRS = "0b5c3c8e-0000-4000-8000-000000000001", "0b5c3c8e-0000-4000-8000-000000000002"
PICTURE = b"\xff\xd8\xff\xe0picture"


def following(*samplers: str) -> Events:
    return Events(OURS, samplers)


def text(kind: str, **data: Any) -> bytes:
    return json.dumps({"type": kind, "data": data}).encode()


def preview() -> bytes:
    return struct.pack(">II", 1, 1) + PICTURE


def preview_of(prompt_id: str) -> bytes:
    metadata = json.dumps({"prompt_id": prompt_id, "node_id": "3"}).encode()
    return struct.pack(">II", 4, len(metadata)) + metadata + PICTURE


@pytest.mark.parametrize("kind", ["execution_success", "execution_error", "execution_interrupted"])
def test_executing_null_ends_successes_errors_and_interruptions_alike(kind: str) -> None:
    events = following("3")

    events.take(text(kind, prompt_id=OURS))
    assert not events.is_over

    events.take(text("executing", node=None, prompt_id=OURS))
    assert events.is_over


@pytest.mark.parametrize(
    "noise",
    [
        text("status", status={"exec_info": {"queue_remaining": 0}}),
        text("executing", node=None, prompt_id=THEIRS),
        text("progress", value=1, max=2, prompt_id=THEIRS, node="3"),
        text("progress", value="x", max=None, prompt_id=OURS, node="3"),
        text("progress_state", prompt_id=OURS, nodes=[1]),
        text("execution_error", prompt_id=OURS, exception_type="ExecutionBlocked"),
        text("crystools.monitor", cpu=3),
        b'{"type": "progress", "data": null}',
        b"[1, 2]",
        b"{not json",
        b"\x00",
        b"",
        struct.pack(">II", 4, 999) + b"{}",
        struct.pack(">II", 3, 1) + b"text",
    ],
)
def test_status_noise_and_other_clients_events_change_nothing(noise: bytes) -> None:
    events = following("3")

    events.take(noise)

    assert (events.share, events.preview, events.is_over) == (0.0, None, False)


@pytest.mark.parametrize("node", ["3", None])
def test_executing_without_a_prompt_id_as_after_a_reconnect_is_nobodys(node: str | None) -> None:
    events = following("3")

    events.take(text("executing", node=node))
    events.take(preview())

    assert (events.preview, events.is_over) == (None, False)


def test_progress_is_that_of_the_nodes_that_draw() -> None:
    events = following("3", "61")

    events.take(text("progress", value=1, max=1, prompt_id=OURS, node="8"))
    assert events.share == 0.0
    events.take(text("progress", value=10, max=20, prompt_id=OURS, node="3"))
    assert events.share == 0.25
    state = {"3": {"value": 20, "max": 20}, "61": {"value": 0.0, "max": 1.0}}
    events.take(text("progress_state", prompt_id=OURS, nodes=state))
    assert events.share == 0.5


def test_progress_never_goes_back() -> None:
    events = following("3")
    events.take(text("progress", value=9, max=10, prompt_id=OURS, node="3"))

    events.take(text("progress", value=1, max=10, prompt_id=OURS, node="3"))

    assert events.share == 0.9


def previews_after(*messages: bytes) -> bool:
    events = following("3")
    for each in messages:
        events.take(each)
    return events.preview == PICTURE


BEGUN = text("executing", node="3", prompt_id=OURS)
ENDED = text("executing", node=None, prompt_id=OURS)


def test_a_preview_of_binary_type_4_is_ours_when_it_names_our_prompt() -> None:
    assert previews_after(preview_of(OURS))
    assert not previews_after(BEGUN, preview_of(THEIRS))


def test_a_preview_of_binary_type_1_names_no_prompt_and_is_ours_only_while_ours_runs() -> None:
    assert not previews_after(preview())
    assert previews_after(BEGUN, preview())
    assert not previews_after(BEGUN, ENDED, preview())
