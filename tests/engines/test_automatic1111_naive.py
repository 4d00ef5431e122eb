"""The stand-in is honest: a client that knows nothing of the server's traps falls into them."""

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from PIL import Image

from tests.engines.automatic1111_builders import RED, Neighbour, plain, png, wait_until
from tests.engines.builders import opened
from tests.engines.servers.automatic1111 import Automatic1111Server
from tests.engines.servers.automatic1111_pictures import colour

ANIME = {"sd_model_checkpoint": "anime"}


class NaiveClient:
    """Believes what it is told: a 200 is a success, and what was asked for was done."""

    def __init__(self, server: Automatic1111Server) -> None:
        self.server = server

    def post(self, route: str, timeout_s: float = 20, **body: Any) -> Any:
        url = f"{self.server.url}/sdapi/v1/{route}"
        return requests.post(url, json=body, timeout=timeout_s)

    def draw(self, **body: Any) -> Any:
        """The colour of the first picture."""
        return self.colours(**body)[0]

    def colours(self, **body: Any) -> list[Any]:
        small = {"width": 64, "height": 64, "steps": 5, "seed": 1}
        answer = self.post("txt2img", **small, **body).json()
        pictures = [opened(base64.b64decode(each)) for each in answer["images"]]
        return [each.convert("RGB").getpixel((1, 1)) for each in pictures]


def asks_for_an_unknown_checkpoint(client: NaiveClient) -> bool:
    drawn = client.draw(override_settings={"sd_model_checkpoint": "nope"})
    return bool(drawn == colour("dreamscape", 1))


def changes_everybodys_checkpoint(client: NaiveClient) -> bool:
    requests.post(f"{client.server.url}/sdapi/v1/options", json=ANIME, timeout=5)
    return bool(client.draw() == colour("anime", 1))


def asks_for_an_unknown_sampler(client: NaiveClient) -> bool:
    answer = client.post("txt2img", sampler_name="nope").json()
    return bool(json.loads(answer["info"])["sampler_name"] == "DPM++ 2M")


def takes_the_echoed_seed_for_the_real_one(client: NaiveClient) -> bool:
    answer = client.post("txt2img", seed=-1).json()
    return bool(answer["parameters"]["seed"] == -1 and json.loads(answer["info"])["seed"] >= 0)


def takes_the_grid_for_the_first_picture(client: NaiveClient) -> bool:
    return len(client.colours(n_iter=2, save_images=True)) == 3


def leaves_the_steps_to_the_server(client: NaiveClient) -> bool:
    answer = client.post("txt2img", width=64, height=64).json()
    return bool(json.loads(answer["info"])["steps"] == 50)


def leaves_the_size_of_an_edit_to_the_server(client: NaiveClient) -> bool:
    init = base64.b64encode(png(plain(64, 32))).decode()
    answer = client.post("img2img", init_images=[init], steps=1).json()
    return opened(base64.b64decode(answer["images"][0])).size == (512, 512)


def repeats_a_500_that_is_its_own_mistake(client: NaiveClient) -> bool:
    return [client.post("txt2img", steps=0).status_code for _ in range(2)] == [500, 500]


def hangs_up_to_stop_its_run(client: NaiveClient) -> bool:
    client.server.machine.step_s = 0.01
    with pytest.raises(requests.Timeout):
        client.post("txt2img", timeout_s=0.05, prompt="ours", steps=20)
    wait_until(lambda: client.server.run("ours").is_over)
    return client.server.run("ours").drawn == 1


def interrupts_while_its_run_waits(client: NaiveClient) -> bool:
    server = client.server
    server.machine.step_s = 0.01
    with ThreadPoolExecutor() as pool:
        with Neighbour(server) as neighbour:
            ours = pool.submit(client.draw, prompt="ours")
            wait_until(lambda: len(server.runs) == 2)
            client.post("interrupt")
        drawn = ours.result()
    return server.run(neighbour.prompt).was_interrupted and drawn == colour("dreamscape", 1)


def takes_an_interrupted_answer_for_a_success(client: NaiveClient) -> bool:
    client.server.machine.step_s = 0.01
    with ThreadPoolExecutor() as pool:
        ours = pool.submit(client.post, "txt2img", steps=150)
        wait_until(lambda: client.server.machine.state.sampling_step > 2)
        client.post("interrupt")
        answer = ours.result()
    unfinished = opened(base64.b64decode(answer.json()["images"][0]))
    steps = json.loads(answer.json()["info"])["steps"]
    is_grey = unfinished.getpixel((1, 1)) == (128, 128, 128)
    return bool(answer.status_code == 200 and steps == 150 and is_grey)


def takes_the_servers_progress_for_its_own(client: NaiveClient) -> bool:
    client.server.machine.step_s = 0.01
    with Neighbour(client.server, steps=30):
        wait_until(lambda: client.server.machine.state.sampling_step > 5)
        url = f"{client.server.url}/sdapi/v1/progress"
        return bool(requests.get(url, timeout=5).json()["progress"] > 0.1)


def takes_the_steps_of_the_job_before_for_its_own(client: NaiveClient) -> bool:
    client.draw()
    client.server.machine.load_s = 0.2
    with ThreadPoolExecutor() as pool:
        ours = pool.submit(client.post, "txt2img", override_settings=ANIME, prompt="ours", steps=9)
        wait_until(lambda: client.server.machine.loads)
        url = f"{client.server.url}/sdapi/v1/progress"
        state = requests.get(url, timeout=5).json()["state"]
        ours.result()
    return bool((state["sampling_steps"], state["job_count"]) == (5, -1))


def waits_until_its_broken_task_is_not_active_any_more(client: NaiveClient) -> bool:
    client.server.fail("broken")
    client.post("txt2img", force_task_id="ours")
    url = f"{client.server.url}/internal/progress"
    question = {"id_task": "ours", "id_live_preview": -1}
    return bool(requests.post(url, json=question, timeout=5).json()["active"])


def sends_a_mask_with_openais_meaning(client: NaiveClient) -> bool:
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (32, 0, 64, 64))
    texts = [base64.b64encode(png(each)).decode() for each in (plain(64, 64), mask)]
    small = {"width": 64, "height": 64, "steps": 1, "seed": 1}
    answer = client.post("img2img", init_images=texts[:1], mask=texts[1], **small).json()
    picture = opened(base64.b64decode(answer["images"][0]))
    # OpenAI would have repainted the right half.
    return picture.getpixel((60, 30)) == RED and picture.getpixel((4, 30)) != RED


def shows_the_preview_of_someone_else(client: NaiveClient) -> bool:
    client.server.machine.step_s = 0.01
    with Neighbour(client.server, steps=30):
        wait_until(lambda: client.server.machine.state.preview_id)
        url = f"{client.server.url}/sdapi/v1/progress"
        return requests.get(url, timeout=5).json()["current_image"] is not None


def changes_to_an_unknown_checkpoint(client: NaiveClient) -> bool:
    answer = client.post("options", sd_model_checkpoint="nope")
    return answer.status_code == 500 and "not found" in answer.json()["errors"]


def believes_the_size_in_the_info(client: NaiveClient) -> bool:
    answer = client.post("txt2img", width=65, height=64, steps=1).json()
    picture = opened(base64.b64decode(answer["images"][0]))
    return (json.loads(answer["info"])["width"], picture.width) == (65, 64)


def asks_for_an_unknown_scheduler(client: NaiveClient) -> bool:
    return bool(client.post("txt2img", scheduler="nope", styles=["nope"], steps=1).ok)


def reads_the_info_as_an_object(client: NaiveClient) -> bool:
    return isinstance(client.post("txt2img", steps=1).json()["info"], str)


def takes_every_picture_for_a_png(client: NaiveClient) -> bool:
    client.server.machine.options["samples_format"] = "jpg"
    answer = client.post("txt2img", steps=1).json()
    return opened(base64.b64decode(answer["images"][0])).format == "JPEG"


def reads_errors_in_one_shape(client: NaiveClient) -> bool:
    bodies: list[dict[str, Any]] = [{"steps": "many"}, {"script_name": "nope"}, {"steps": 0}]
    faults = [client.post("txt2img", **each).json() for each in bodies]
    faults.append(client.post("txt3img").json())
    return len({(*each, type(each["detail"]), bool(each["detail"])) for each in faults}) == 4


def reads_the_errors_of_forge_in_the_same_place(client: NaiveClient) -> bool:
    client.server.is_forge = True
    return "errors" not in client.post("txt2img", steps=0).json()


def sends_its_password_when_it_is_asked_for_it(client: NaiveClient) -> bool:
    client.server.auth = "anna:correct-horse"
    answer = client.post("txt2img", steps=1)
    return answer.status_code == 401 and "www-authenticate" not in answer.headers


def reads_answers_as_they_come(client: NaiveClient) -> bool:
    url = f"{client.server.url}/sdapi/v1/txt2img"
    headers = {"Accept-Encoding": "gzip"}
    with requests.post(url, json={"steps": 1}, headers=headers, stream=True, timeout=5) as answer:
        return bool(answer.raw.read(2, decode_content=False) == b"\x1f\x8b")


def gives_up_while_a_checkpoint_is_loaded(client: NaiveClient) -> bool:
    client.server.machine.load_s = 0.2
    with pytest.raises(requests.Timeout):
        client.post("txt2img", timeout_s=0.05, prompt="ours", override_settings=ANIME, steps=1)
    url = f"{client.server.url}/sdapi/v1/options"
    is_answered = requests.get(url, timeout=0.1).ok
    wait_until(lambda: client.server.run("ours").is_over)
    return is_answered and client.server.run("ours").drawn == 1


def waits_for_the_server_to_end(client: NaiveClient) -> bool:
    client.server.machine.step_s = 0.01
    with ThreadPoolExecutor() as pool:
        ours = pool.submit(client.draw, prompt="ours")
        wait_until(lambda: client.server.runs)
        client.server.stop_accepting()
        with pytest.raises(requests.ConnectionError):
            client.post("txt2img")
        return bool(ours.result() == colour("dreamscape", 1))


def does_without_the_flag_of_the_api(client: NaiveClient) -> bool:
    client.server.api = False
    is_there = requests.get(client.server.url, timeout=5).ok
    return is_there and client.post("txt2img").status_code == 404


@pytest.mark.parametrize(
    "fall",
    [
        asks_for_an_unknown_checkpoint,
        changes_everybodys_checkpoint,
        asks_for_an_unknown_sampler,
        takes_the_echoed_seed_for_the_real_one,
        takes_the_grid_for_the_first_picture,
        leaves_the_steps_to_the_server,
        leaves_the_size_of_an_edit_to_the_server,
        repeats_a_500_that_is_its_own_mistake,
        hangs_up_to_stop_its_run,
        interrupts_while_its_run_waits,
        takes_an_interrupted_answer_for_a_success,
        takes_the_servers_progress_for_its_own,
        takes_the_steps_of_the_job_before_for_its_own,
        waits_until_its_broken_task_is_not_active_any_more,
        sends_a_mask_with_openais_meaning,
        shows_the_preview_of_someone_else,
        changes_to_an_unknown_checkpoint,
        believes_the_size_in_the_info,
        asks_for_an_unknown_scheduler,
        reads_the_info_as_an_object,
        takes_every_picture_for_a_png,
        reads_errors_in_one_shape,
        reads_the_errors_of_forge_in_the_same_place,
        sends_its_password_when_it_is_asked_for_it,
        reads_answers_as_they_come,
        gives_up_while_a_checkpoint_is_loaded,
        waits_for_the_server_to_end,
        does_without_the_flag_of_the_api,
    ],
    ids=lambda fall: str(fall.__name__),
)
def test_a_naive_client_falls_into_the_trap(fall: Callable[[NaiveClient], bool]) -> None:
    with Automatic1111Server() as server:
        assert fall(NaiveClient(server))
