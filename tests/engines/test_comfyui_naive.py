"""The stand-in is as unkind as the real server: a client that knows no trap falls into each."""

import io
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
import requests
import websocket
from PIL import Image

from tests.engines.builders import opened, wait_for
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.workflows import a_workflow, an_image_to_image_workflow


class Trapped(Exception):
    """What a user of the naive client would see."""


class NaiveClient:
    """Posts a workflow as it is, believes every answer, and waits for events alone."""

    def __init__(self, server: ComfyUIServer) -> None:
        self.url = server.origin
        self.client_id = uuid.uuid4().hex
        self.prompt_id = uuid.uuid4().hex if server.is_old else str(uuid.uuid4())

    def post(self, graph: Any, **rest: Any) -> str:
        body = {"prompt": graph, "client_id": self.client_id, **rest}
        answer = requests.post(f"{self.url}/prompt", json=body, timeout=5)
        if answer.status_code != 200:
            raise Trapped(f"refused with {answer.status_code}: {answer.text}")
        return str(answer.json()["prompt_id"])

    @contextmanager
    def listening(self) -> Iterator[websocket.WebSocket]:
        connection = websocket.create_connection(
            f"{self.url.replace('http', 'ws')}/ws?clientId={self.client_id}",
            timeout=0.5,
            suppress_origin=True,
        )
        try:
            connection.recv()
            yield connection
        finally:
            connection.shutdown()

    def wait_for(self, connection: websocket.WebSocket, kind: str, prompt_id: str) -> None:
        while True:
            try:
                message = connection.recv()
            except (websocket.WebSocketException, OSError) as error:
                raise Trapped("waits for ever") from error
            if isinstance(message, str):
                event = json.loads(message)
                if event["type"] == kind and event["data"]["prompt_id"] == prompt_id:
                    return

    def preview_kind(self, connection: websocket.WebSocket) -> int:
        """The binary type of the first preview that comes."""
        while True:
            message = connection.recv()
            if isinstance(message, bytes):
                return int.from_bytes(message[:4])

    def draw(self, graph: Any) -> bytes:
        with self.listening() as connection:
            prompt_id = self.post(graph)
            self.wait_for(connection, "execution_success", prompt_id)
        return self.fetch(prompt_id)

    def fetch(self, prompt_id: str) -> bytes:
        entry = requests.get(f"{self.url}/history/{prompt_id}", timeout=5).json()
        try:
            images = entry[prompt_id]["outputs"]["9"]["images"]
        except KeyError as error:
            raise Trapped("no picture in the history") from error
        answer = requests.get(f"{self.url}/view", params=images[0], timeout=5)
        if answer.status_code != 200:
            raise Trapped("the picture is gone")
        return answer.content


@pytest.fixture
def comfy() -> Iterator[ComfyUIServer]:
    with ComfyUIServer() as comfy:
        # The way the first trap is laid; the others switch it off.
        comfy.worker.history_lag_s = 0.0
        yield comfy


def history_at_success(comfy: ComfyUIServer) -> None:
    comfy.worker.history_lag_s = 0.2
    NaiveClient(comfy).draw(a_workflow())


def hex_prompt_id(comfy: ComfyUIServer) -> None:
    NaiveClient(comfy).post(a_workflow(), prompt_id=uuid.uuid4().hex)


def ui_format(comfy: ComfyUIServer) -> None:
    NaiveClient(comfy).post({"nodes": [{"id": 1, "type": "KSampler"}], "version": 0.4})


def posted_before_listening(comfy: ComfyUIServer) -> None:
    client = NaiveClient(comfy)
    prompt_id = client.post(a_workflow())
    wait_for(lambda: prompt_id in comfy.floor.history)
    with client.listening() as connection:
        client.wait_for(connection, "executing", prompt_id)


def the_id_in_every_event(comfy: ComfyUIServer) -> None:
    client = NaiveClient(comfy)
    with client.listening() as connection:
        prompt_id = client.post(a_workflow())
        try:
            # Also `status` comes here, which has no prompt id.
            client.wait_for(connection, "status", prompt_id)
        except KeyError as error:
            raise Trapped("an event without a prompt id") from error


def cached_files(comfy: ComfyUIServer) -> None:
    client = NaiveClient(comfy)
    first = client.post(a_workflow())
    wait_for(lambda: first in comfy.floor.history)
    comfy.floor.files.clear()
    second = client.post(a_workflow())
    wait_for(lambda: second in comfy.floor.history)
    client.fetch(second)


def deleted_while_it_waits(comfy: ComfyUIServer) -> None:
    comfy.worker.held.set()
    comfy.queue(a_workflow())
    client = NaiveClient(comfy)
    with client.listening() as connection:
        prompt_id = client.post(a_workflow())
        comfy.lose(prompt_id)
        comfy.worker.held.clear()
        client.wait_for(connection, "execution_success", prompt_id)


def restarted(comfy: ComfyUIServer) -> None:
    comfy.worker.held.set()
    client = NaiveClient(comfy)
    with client.listening() as connection:
        prompt_id = client.post(a_workflow())
        comfy.restart()
        client.wait_for(connection, "execution_success", prompt_id)


def posted_again_after_a_lost_answer(comfy: ComfyUIServer) -> None:
    comfy.fail("lost_answer")
    client = NaiveClient(comfy)
    with suppress(requests.ConnectionError):
        client.post(a_workflow(), prompt_id=client.prompt_id)
    client.post(a_workflow(), prompt_id=client.prompt_id)
    if len(comfy.accepted) == 2:
        raise Trapped("drawn twice")


def node_errors_with_200(comfy: ComfyUIServer) -> None:
    graph = a_workflow()
    graph["20"] = {"class_type": "SaveImage", "inputs": graph["9"]["inputs"], "_meta": {}}
    graph["9"] = {**graph["9"], "inputs": {"images": ["404", 0], "filename_prefix": "x"}}
    NaiveClient(comfy).draw(graph)


def own_name_for_an_upload(comfy: ComfyUIServer) -> None:
    names = []
    for colour in ("red", "blue"):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
        files = {"image": ("init.png", buffer.getvalue(), "image/png")}
        answer = requests.post(f"{comfy.origin}/upload/image", files=files, timeout=5)
        names.append(answer.json()["name"])
    if names != ["init.png", "init.png"]:
        raise Trapped("somebody else's picture is changed")


def a_picture_that_was_not_uploaded(comfy: ComfyUIServer) -> None:
    NaiveClient(comfy).post(an_image_to_image_workflow())


def a_seed_of_minus_one(comfy: ComfyUIServer) -> None:
    graph = a_workflow()
    graph["3"]["inputs"]["seed"] = -1
    NaiveClient(comfy).post(graph)


def an_origin(comfy: ComfyUIServer) -> None:
    headers = {"Origin": "http://darkroom.example.org"}
    answer = requests.get(f"{comfy.origin}/prompt", headers=headers, timeout=5)
    if answer.status_code == 403:
        raise Trapped("turned away")


def a_client_id_used_twice(comfy: ComfyUIServer) -> None:
    client = NaiveClient(comfy)
    older = client.listening()
    older.__enter__()
    with client.listening() as newer:
        older.__exit__(None, None, None)
        wait_for(lambda: client.client_id not in comfy.floor.sockets)
        prompt_id = client.post(a_workflow())
        client.wait_for(newer, "execution_success", prompt_id)


def interrupted_without_an_id(comfy: ComfyUIServer) -> None:
    comfy.worker.held.set()
    theirs = comfy.queue(a_workflow())
    comfy.worker.sampling.wait(5)
    mine = NaiveClient(comfy).post(a_workflow())
    requests.post(f"{comfy.origin}/interrupt", json={}, timeout=5)
    comfy.worker.held.clear()
    wait_for(lambda: mine in comfy.floor.history)
    if comfy.floor.history[theirs]["status"]["status_str"] == "error":
        raise Trapped("somebody else's run is gone")


def no_client_id(comfy: ComfyUIServer) -> None:
    comfy.worker.outputs_need_client_id = True
    client = NaiveClient(comfy)
    for _ in range(2):
        body = {"prompt": a_workflow()}
        answer = requests.post(f"{comfy.origin}/prompt", json=body, timeout=5)
        prompt_id = str(answer.json()["prompt_id"])
        wait_for(partial(comfy.floor.history.get, prompt_id))
        client.fetch(prompt_id)


def an_event_after_a_reconnect(comfy: ComfyUIServer) -> None:
    comfy.worker.held.set()
    client = NaiveClient(comfy)
    with client.listening():
        prompt_id = client.post(a_workflow())
        comfy.worker.sampling.wait(5)
    wait_for(lambda: client.client_id not in comfy.floor.sockets)
    with client.listening() as connection:
        try:
            client.wait_for(connection, "executing", prompt_id)
        except KeyError as error:
            raise Trapped("an event without a prompt id") from error


def somebody_elses_preview(comfy: ComfyUIServer) -> None:
    client = NaiveClient(comfy)
    with client.listening() as connection:
        # Without a client id, its previews go to everyone.
        comfy.queue(a_workflow())
        if client.preview_kind(connection):
            raise Trapped("the preview of somebody else's prompt")


def flags_of_an_earlier_connection(comfy: ComfyUIServer) -> None:
    client = NaiveClient(comfy)
    flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
    with client.listening() as connection:
        connection.send(json.dumps(flags))
        client.post(a_workflow())
        assert client.preview_kind(connection) == 4
    wait_for(lambda: client.client_id not in comfy.floor.sockets)
    other = a_workflow()
    other["3"]["inputs"]["seed"] = 1
    with client.listening() as connection:
        client.post(other)
        if client.preview_kind(connection) != 4:
            raise Trapped("a preview that names no prompt")


def an_interruption_taken_for_a_failure(comfy: ComfyUIServer) -> None:
    comfy.worker.held.set()
    prompt_id = NaiveClient(comfy).post(a_workflow())
    comfy.worker.sampling.wait(5)
    requests.post(f"{comfy.origin}/interrupt", json={"prompt_id": prompt_id}, timeout=5)
    wait_for(lambda: prompt_id in comfy.floor.history)
    status = comfy.floor.history[prompt_id]["status"]
    if (status["status_str"], status["completed"]) == ("error", False):
        raise Trapped("a failure that was none")


def deleted_while_it_runs(comfy: ComfyUIServer) -> None:
    comfy.worker.held.set()
    prompt_id = NaiveClient(comfy).post(a_workflow())
    comfy.worker.sampling.wait(5)
    body = {"delete": [prompt_id]}
    assert requests.post(f"{comfy.origin}/queue", json=body, timeout=5).ok
    comfy.worker.held.clear()
    wait_for(lambda: prompt_id in comfy.floor.history)
    if comfy.floor.history[prompt_id]["status"]["completed"]:
        raise Trapped("it was drawn all the same")


def interrupted_while_it_waits(comfy: ComfyUIServer) -> None:
    comfy.worker.held.set()
    comfy.queue(a_workflow())
    comfy.worker.sampling.wait(5)
    prompt_id = NaiveClient(comfy).post(a_workflow(save="PreviewImage"))
    body = {"prompt_id": prompt_id}
    assert requests.post(f"{comfy.origin}/interrupt", json=body, timeout=5).ok
    comfy.worker.held.clear()
    wait_for(lambda: prompt_id in comfy.floor.history)
    if comfy.floor.history[prompt_id]["status"]["completed"]:
        raise Trapped("it was drawn all the same")


def canceled_as_a_job_on_an_old_build(comfy: ComfyUIServer) -> None:
    comfy.is_old = True
    comfy.worker.held.set()
    prompt_id = NaiveClient(comfy).post(a_workflow())
    answer = requests.post(f"{comfy.origin}/api/jobs/{prompt_id}/cancel", timeout=5)
    if answer.status_code == 404:
        raise Trapped("there are no jobs")


def words_of_every_refusal(comfy: ComfyUIServer) -> None:
    for content in (b"", b"{", b'{"prompt": null}', b'{"prompt": "x"}'):
        answer = requests.post(f"{comfy.origin}/prompt", data=content, timeout=5)
        assert answer.status_code == 500
    try:
        answer.json()
    except requests.JSONDecodeError as error:
        raise Trapped("plain text") from error


def any_width(comfy: ComfyUIServer) -> None:
    graph = a_workflow()
    graph["5"]["inputs"]["width"] = 65
    prompt_id = NaiveClient(comfy).post(graph)
    wait_for(lambda: prompt_id in comfy.floor.history)
    if opened(NaiveClient(comfy).fetch(prompt_id)).width != 65:
        raise Trapped("another size")


def a_prefix_that_leaves_the_folder(comfy: ComfyUIServer) -> None:
    graph = a_workflow()
    graph["9"]["inputs"]["filename_prefix"] = "../../x"
    NaiveClient(comfy).draw(graph)


def a_corrupt_upload(comfy: ComfyUIServer) -> None:
    files = {"image": ("init.png", b"no picture", "image/png")}
    assert requests.post(f"{comfy.origin}/upload/image", files=files, timeout=5).ok
    graph = an_image_to_image_workflow()
    loader = next(each for each in graph.values() if each["class_type"] == "LoadImage")
    loader["inputs"]["image"] = "init.png"
    NaiveClient(comfy).draw(graph)


def a_saver_that_keeps_nothing(comfy: ComfyUIServer) -> None:
    client = NaiveClient(comfy)
    prompt_id = client.post(a_workflow(save="SaveImageWebsocket"))
    wait_for(lambda: prompt_id in comfy.floor.history)
    client.fetch(prompt_id)


def a_preview_among_the_outputs(comfy: ComfyUIServer) -> None:
    prompt_id = NaiveClient(comfy).post(a_workflow(save="PreviewImage"))
    wait_for(lambda: prompt_id in comfy.floor.history)
    image = comfy.floor.history[prompt_id]["outputs"]["9"]["images"][0]
    query = {"filename": image["filename"], "type": "output"}
    if requests.get(f"{comfy.origin}/view", params=query, timeout=5).status_code == 404:
        raise Trapped("it is in another folder")


def one_form_of_choices(comfy: ComfyUIServer) -> None:
    info = requests.get(f"{comfy.origin}/object_info/UnetLoaderGGUF", timeout=5).json()
    choices = info["UnetLoaderGGUF"]["input"]["required"]["unet_name"][0]
    if not isinstance(choices, list):
        raise Trapped("choices in another place")


def paths_of_the_server(comfy: ComfyUIServer) -> None:
    graph = a_workflow()
    graph["4"]["inputs"]["ckpt_name"] = "rotten.safetensors"
    prompt_id = NaiveClient(comfy).post(graph)
    wait_for(lambda: prompt_id in comfy.floor.history)
    if "/srv/comfy" in str(comfy.floor.history[prompt_id]["status"]["messages"]):
        raise Trapped("what it says is not for everyone")


TRAPS = [
    history_at_success,
    hex_prompt_id,
    ui_format,
    posted_before_listening,
    the_id_in_every_event,
    cached_files,
    deleted_while_it_waits,
    restarted,
    posted_again_after_a_lost_answer,
    node_errors_with_200,
    own_name_for_an_upload,
    a_picture_that_was_not_uploaded,
    a_seed_of_minus_one,
    an_origin,
    a_client_id_used_twice,
    interrupted_without_an_id,
    no_client_id,
    an_event_after_a_reconnect,
    somebody_elses_preview,
    flags_of_an_earlier_connection,
    an_interruption_taken_for_a_failure,
    deleted_while_it_runs,
    interrupted_while_it_waits,
    canceled_as_a_job_on_an_old_build,
    words_of_every_refusal,
    any_width,
    a_prefix_that_leaves_the_folder,
    a_corrupt_upload,
    a_saver_that_keeps_nothing,
    a_preview_among_the_outputs,
    one_form_of_choices,
    paths_of_the_server,
]


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_a_naive_client_falls_into_the_trap(comfy: ComfyUIServer, trap: Any) -> None:
    with pytest.raises(Trapped):
        trap(comfy)


def test_without_traps_the_naive_client_gets_its_picture(comfy: ComfyUIServer) -> None:
    client = NaiveClient(comfy)
    with client.listening() as connection:
        prompt_id = client.post(a_workflow())
        client.wait_for(connection, "execution_success", prompt_id)
    wait_for(lambda: prompt_id in comfy.floor.history)

    assert client.fetch(prompt_id).startswith(b"\x89PNG")
