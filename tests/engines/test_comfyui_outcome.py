"""What the histories of ComfyUI mean, in forms that the stand-in does not bring about."""

from typing import Any

import pytest

from engines.comfyui_api import PictureRef
from engines.comfyui_outcome import failure, pictures
from engines.scrubbing import Scrubber

START = ["execution_start", {}]
SUCCESS = ["execution_success", {}]
INTERRUPTED = ["execution_interrupted", {"node_id": "3"}]
BLOCKED = ["execution_error", {"exception_type": "ExecutionBlocked"}]
BROKEN = [
    "execution_error",
    {
        "node_id": "4",
        "node_type": "Loader",
        "exception_type": "ValueError",
        "exception_message": "\nbad shape\n\nTIPS: read the manual",
    },
]


def reason(*messages: Any, status: str = "success") -> str | None:
    entry = {"status": {"status_str": status, "messages": list(messages)}}
    error = failure(entry, engine="comfyui", scrub=Scrubber([]))
    return None if error is None else error.detail


def test_a_run_that_succeeded_has_no_reason_to_fail() -> None:
    assert reason(START, SUCCESS) is None


def test_a_branch_that_was_switched_off_is_no_failure() -> None:
    assert reason(START, BLOCKED, SUCCESS) is None
    assert reason(START, SUCCESS, BLOCKED) is None


@pytest.mark.parametrize("status", ["success", "error"])
def test_the_messages_decide_and_not_the_status(status: str) -> None:
    broken = reason(START, BROKEN, status=status)
    interrupted = reason(START, INTERRUPTED, status=status)

    assert broken == (
        "Engine 'comfyui' broke at node 4 (Loader) with ValueError: bad shape. Its own log says"
        " more."
    )
    assert interrupted is not None
    assert "someone else" in interrupted


@pytest.mark.parametrize("messages", [[], [START], [None, ["x"], "y"]])
def test_an_error_without_a_message_is_still_one(messages: list[Any]) -> None:
    assert reason(*messages, status="error") is not None
    assert reason(*messages) is None


def image(name: str, folder: str = "output") -> dict[str, Any]:
    return {"filename": name, "subfolder": "", "type": folder, "id": "new-builds-tell-more"}


def test_pictures_come_by_node_and_place_each_once() -> None:
    outputs = {
        "10": {"images": [image("c"), image("a")], "animated": [False]},
        "9": {"images": [image("a"), image("b")]},
        "57:2": {"images": [image("d")]},
    }

    assert [each.filename for each in pictures({"outputs": outputs})] == ["a", "b", "c", "d"]


def test_previews_count_only_where_nothing_is_saved() -> None:
    preview, saved = {"images": [image("p", "temp")]}, {"images": [image("s")]}

    assert pictures({"outputs": {"1": preview, "2": saved}}) == [PictureRef("s", "", "output")]
    assert pictures({"outputs": {"1": preview}}) == [PictureRef("p", "", "temp")]


@pytest.mark.parametrize(
    "outputs",
    [
        None,
        {},
        {"9": None},
        {"9": {"gifs": [image("video")], "text": ["hello"], "audio": []}},
        {"9": {"images": [None, {"filename": 3}, image("of the input", "input")]}},
    ],
)
def test_what_is_no_picture_is_passed_over(outputs: Any) -> None:
    assert pictures({"outputs": outputs}) == []
