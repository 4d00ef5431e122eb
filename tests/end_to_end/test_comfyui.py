"""One ComfyUI and many callers: runs survive their workers, and a cancel stops the right one."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster
from tests.end_to_end.engine_servers import all_engines
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.workflows import a_workflow

LEASE_S = 2.0
MODEL = "comfyui/dream.safetensors"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, ComfyUIServer]]:
    folder = tmp_path_factory.mktemp("comfyui")
    with all_engines(folder, workers=2, lease_s=LEASE_S) as (cluster, servers):
        yield cluster, servers.comfyui


@pytest.fixture
def cluster(running: tuple[Cluster, ComfyUIServer]) -> Cluster:
    return running[0]


@pytest.fixture
def server(running: tuple[Cluster, ComfyUIServer]) -> Iterator[ComfyUIServer]:
    """Its samplers wait until they are let go."""
    server = running[1]
    server.worker.held.set()
    server.worker.sampling.clear()
    yield server
    server.worker.held.clear()


def submit(cluster: Cluster, prompt: str, headers: dict[str, str] | None = None) -> str:
    return cluster.submit(headers, prompt=prompt, model=MODEL)


def run_of(cluster: Cluster, job_id: str) -> str:
    """The id of a job's prompt, once the server has it."""
    cluster.await_upstream_id(job_id)
    return str(cluster.storage.jobs.get(job_id).upstream_id)


def is_gone(server: ComfyUIServer, prompt_id: str) -> bool:
    with server.floor.changed:
        waiting = [each.id for each in server.floor.pending]
        running = server.floor.running
    return prompt_id not in waiting and (running is None or running.id != prompt_id)


@pytest.mark.timeout(120)
def test_a_run_whose_worker_is_killed_is_gone_on_with(
    cluster: Cluster, server: ComfyUIServer
) -> None:
    before = len(server.accepted)
    job_id = submit(cluster, "a ship that outlives its worker")
    worker = cluster.holder(job_id)
    prompt_id = run_of(cluster, job_id)
    until(lambda: prompt_id in server.accepted, "ComfyUI has the prompt")

    worker.kill()
    cluster.holder(job_id, attempt=2)
    server.worker.held.clear()

    job = cluster.finished(job_id)
    worker.start()
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert server.accepted[before:] == [prompt_id]
    assert cluster.call("GET", job["images"][0]["url"]).ok


@pytest.mark.timeout(120)
def test_a_cancel_stops_the_right_run(cluster: Cluster, server: ComfyUIServer) -> None:
    _, anna = cluster.add_user("anna")
    _, bert = cluster.add_user("bert")
    running = submit(cluster, "anna's first", anna)
    run = run_of(cluster, running)
    until(lambda: server.worker.sampling.is_set(), "the first is being drawn")
    kept = submit(cluster, "bert's", bert)
    queued = submit(cluster, "anna's second", anna)
    foreign = server.queue(a_workflow())
    waiting = run_of(cluster, queued)
    until(lambda: not is_gone(server, waiting), "the second waits at ComfyUI")

    for job_id, prompt_id in ((queued, waiting), (running, run)):
        cluster.call("POST", f"/api/v1/jobs/{job_id}/cancel", headers=anna)
        assert cluster.finished(job_id)["status"] == "canceled"
        # A running one ends at its next sampling step, which it has yet to take.
        if prompt_id == run:
            server.worker.held.clear()
        until(partial(is_gone, server, prompt_id), "it is gone")

    assert waiting not in server.floor.history
    last_kind, _ = server.floor.history[run]["status"]["messages"][-1]
    assert last_kind == "execution_interrupted"
    assert cluster.finished(kept)["status"] == "succeeded"
    until(lambda: foreign in server.floor.history, "somebody else's prompt is drawn")
    assert server.floor.history[foreign]["status"]["status_str"] == "success"


@pytest.mark.timeout(120)
def test_previews_are_shown_while_it_draws(cluster: Cluster, server: ComfyUIServer) -> None:
    job_id = submit(cluster, "a ship in the making")
    until(lambda: server.worker.sampling.is_set(), "it is being drawn")
    server.worker.step_s = 0.2
    server.worker.held.clear()

    shown = until(
        lambda: cluster.job(job_id).get("preview_url") or cluster.job(job_id)["finished_at"],
        "a preview is shown",
    )

    server.worker.step_s = 0.0
    assert isinstance(shown, str), "it was finished before it was shown"
    assert cluster.call("GET", shown).headers["Content-Type"].startswith("image/")
    assert cluster.finished(job_id)["status"] == "succeeded"
