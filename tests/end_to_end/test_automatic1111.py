"""One AUTOMATIC1111 and many callers: no job stops another one's picture, or draws it."""

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster
from tests.end_to_end.engine_servers import all_engines
from tests.engines.servers.automatic1111 import Automatic1111Server
from tests.engines.servers.automatic1111_pictures import colour
from tests.engines.servers.automatic1111_state import Run

#: 20 steps: a picture takes about two seconds.
STEP_S = 0.1


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Cluster, Automatic1111Server]]:
    folder = tmp_path_factory.mktemp("automatic1111")
    with all_engines(folder, workers=2, lease_s=2) as (cluster, servers):
        yield cluster, servers.automatic1111


@pytest.fixture
def cluster(running: tuple[Cluster, Automatic1111Server]) -> Cluster:
    return running[0]


@pytest.fixture
def server(running: tuple[Cluster, Automatic1111Server]) -> Iterator[Automatic1111Server]:
    server = running[1]
    server.machine.step_s = STEP_S
    yield server
    server.machine.step_s = 0.0


def submit(cluster: Cluster, prompt: str, headers: dict[str, str] | None = None) -> str:
    return cluster.submit(headers, prompt=prompt, model="automatic1111/default")


def cancel(cluster: Cluster, job_id: str, headers: dict[str, str]) -> None:
    cluster.call("POST", f"/api/v1/jobs/{job_id}/cancel", headers=headers)


def test_a_cancel_stops_the_right_job_and_its_neighbours_are_untouched(
    cluster: Cluster, server: Automatic1111Server
) -> None:
    _, anna = cluster.add_user("anna")
    _, bert = cluster.add_user("bert")
    first = submit(cluster, "anna's first", anna)
    second = submit(cluster, "bert's", bert)
    third = submit(cluster, "anna's second", anna)
    until(lambda: [each for each in server.runs if each.is_begun], "the first is being drawn")

    cancel(cluster, third, anna)
    cancel(cluster, first, anna)

    ends = [cluster.finished(each)["status"] for each in (first, second, third)]
    assert ends == ["canceled", "succeeded", "canceled"]
    interrupted = {each.prompt: each.was_interrupted for each in server.runs}
    assert interrupted == {"anna's first": True, "bert's": False}


@pytest.mark.timeout(120)
def test_a_job_whose_worker_is_killed_is_drawn_again_and_kept_once(
    cluster: Cluster, server: Automatic1111Server
) -> None:
    prompt = "a ship that outlives its worker"
    job_id = submit(cluster, prompt)
    worker = cluster.holder(job_id)
    until(lambda: [each for each in drawn(server, prompt) if each.is_begun], "it is being drawn")

    worker.kill()

    job = cluster.finished(job_id)
    worker.start()
    assert (job["status"], job["attempt"], len(job["images"])) == ("succeeded", 2, 1)
    # The server draws on for nobody; that run is not interrupted, and its picture not kept.
    assert [each.was_interrupted for each in drawn(server, prompt)] == [False, False]


def drawn(server: Automatic1111Server, prompt: str) -> list[Run]:
    return [each for each in server.runs if each.prompt == prompt]


def test_the_server_is_never_given_two_jobs_at_once(
    cluster: Cluster, server: Automatic1111Server
) -> None:
    server.machine.step_s = 0.01
    before = len(server.runs)
    jobs = [submit(cluster, f"one of six {number}") for number in range(6)]

    at_once: list[int] = []

    def watched() -> bool:
        at_once.append(sum(not each.is_over for each in server.runs))
        return cluster.finished_among(jobs) == set(jobs)

    until(watched, "all are drawn")

    assert max(at_once) == 1
    assert len(server.runs) - before == 6


def test_two_models_asked_for_at_the_same_time_never_swap(
    cluster: Cluster, server: Automatic1111Server
) -> None:
    server.machine.step_s = 0.005
    models = ["dreamscape", "realist"] * 4
    jobs = [
        cluster.submit(
            prompt=f"{model} {number}", model=f"automatic1111/{name(model)}", seed=number
        )
        for number, model in enumerate(models)
    ]

    for number, (model, job_id) in enumerate(zip(models, jobs, strict=True)):
        job = cluster.finished(job_id)
        [image] = job["images"]
        content = cluster.call("GET", image["url"])
        assert content.ok
        assert _corner(content.content) == colour(model, number)
        assert job["model"] == name(model)


def name(model: str) -> str:
    """What the server lists the checkpoint as."""
    return {"realist": "sdxl_realist"}.get(model, model)


def test_an_unknown_checkpoint_is_an_error_and_draws_nothing(
    cluster: Cluster, server: Automatic1111Server
) -> None:
    before = len(server.runs)

    answer = cluster.generate(model="automatic1111/no-such-thing")

    assert (answer.status_code, answer.json()["code"]) == (400, "model_unavailable")
    assert "no-such-thing" in answer.json()["detail"]
    assert len(server.runs) == before


def _corner(content: bytes) -> object:
    return Image.open(io.BytesIO(content)).convert("RGB").getpixel((0, 0))
