"""Several servers of one engine: who gets what, and what becomes of those that are ill."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.backends.ports import free_port
from tests.end_to_end.caller import PATIENCE_S, until
from tests.end_to_end.cluster import Cluster
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.servers.openai import OpenAIServer

MODEL = "comfyui/dream.safetensors"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("pools")
    with Cluster(folder, workers=2, no_proxy="127.0.0.1") as running:
        yield running


@pytest.fixture
def servers() -> Iterator[list[ComfyUIServer]]:
    """Three that take a moment for a picture."""
    with ExitStack() as stack:
        yield [stack.enter_context(ComfyUIServer(step_s=0.01)) for _ in range(3)]


def configure(cluster: Cluster, **values: Any) -> Any:
    answer = cluster.call("POST", "/api/images/config/update", json=values)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pool_of(cluster: Cluster, *origins: str) -> None:
    """Make these the servers of ComfyUI, called a, b and so on."""
    entries = [{"name": name, "base_url": each} for name, each in zip("abc", origins, strict=False)]
    configure(cluster, COMFYUI_SERVERS=entries)


def drawn(cluster: Cluster, count: int, model: str = MODEL) -> Counter[str | None]:
    """Have so many pictures drawn; how many each server drew, each of them at the first try."""
    ids = [cluster.submit(prompt=f"ship {number}", model=model) for number in range(count)]
    jobs = cluster.all_finished(ids)
    assert {each.status for each in jobs} == {"succeeded"}
    assert {each.attempt for each in jobs} == {1}
    return Counter(each.server for each in jobs)


def server_states(cluster: Cluster, engine: str = "comfyui") -> dict[str, str]:
    engines = {each["name"]: each for each in cluster.call("GET", "/api/v1/engines/").json()}
    assert engines[engine]["state"] == "ready"
    return {each["name"]: each["state"] for each in engines[engine]["servers"]}


@pytest.mark.timeout(120)
def test_the_load_is_even(cluster: Cluster, servers: list[ComfyUIServer]) -> None:
    pool_of(cluster, *(each.origin for each in servers))

    loads = drawn(cluster, 30)

    assert all(8 <= loads[each] <= 12 for each in "abc"), loads
    assert [len(each.accepted) for each in servers] == [loads[each] for each in "abc"]


@pytest.mark.timeout(120)
def test_a_slow_server_gets_less(cluster: Cluster, servers: list[ComfyUIServer]) -> None:
    servers[2].worker.step_s = 0.2
    pool_of(cluster, *(each.origin for each in servers))

    loads = drawn(cluster, 30)

    assert loads["c"] < 0.7 * min(loads["a"], loads["b"]), loads


@pytest.mark.timeout(120)
def test_a_model_goes_to_the_server_that_has_it(
    cluster: Cluster, servers: list[ComfyUIServer]
) -> None:
    servers[1].models["checkpoints"].append("rare.safetensors")
    pool_of(cluster, *(each.origin for each in servers))
    until(
        lambda: all(len(each.calls_to("/models/checkpoints")) >= 2 for each in servers),
        "both workers asked all servers",
    )

    assert drawn(cluster, 6, "comfyui/rare.safetensors") == {"b": 6}


@pytest.mark.timeout(120)
def test_an_ill_server_rests_alone_and_comes_back(
    cluster: Cluster, servers: list[ComfyUIServer]
) -> None:
    port = free_port()
    pool_of(cluster, f"http://127.0.0.1:{port}", *(each.origin for each in servers[1:]))

    ids = [cluster.submit(prompt=f"boat {number}", model=MODEL) for number in range(12)]
    jobs = cluster.all_finished(ids)

    assert {each.status for each in jobs} == {"succeeded"}
    assert {each.server for each in jobs} == {"b", "c"}
    assert server_states(cluster) == {"a": "resting", "b": "ready", "c": "ready"}
    # Nobody waited for a back-off.
    tried = [cluster.attempts(each.id) for each in jobs]
    moved = [each for each in tried if len(each) > 1]
    assert moved
    assert {each[0].server for each in moved} == {"a"}
    assert {each[0].outcome for each in moved} == {"engine_unreachable"}

    with ComfyUIServer(port=port):
        until(lambda: server_states(cluster)["a"] == "ready", "it is well again")
        assert drawn(cluster, 6)["a"] == 2


@pytest.mark.timeout(180)
def test_jobs_of_a_killed_server_move_and_none_is_lost(
    cluster: Cluster, servers: list[ComfyUIServer]
) -> None:
    port = free_port()
    doomed = subprocess.Popen(
        [sys.executable, "-m", "tests.engines.servers.comfyui", "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert doomed.stdout is not None
        assert "Listening" in doomed.stdout.readline()
        pool_of(cluster, servers[0].origin, servers[1].origin, f"http://127.0.0.1:{port}")
        for each in servers[:2]:
            each.worker.step_s = 0.2
        ids = [cluster.submit(prompt=f"raft {number}", model=MODEL) for number in range(30)]
        until(lambda: running_on(cluster, ids, "c") >= 3, "the third server has work")
    finally:
        doomed.send_signal(signal.SIGKILL)
        doomed.communicate(timeout=PATIENCE_S)
    for each in servers[:2]:
        each.worker.step_s = 0.0

    jobs = cluster.all_finished(ids, within_s=120)

    assert {each.status for each in jobs} == {"succeeded"}
    assert any(len(cluster.attempts(each.id)) > 1 for each in jobs)
    # Each picture was drawn once by those that are still there, and is kept once.
    accepted = sum(len(each.accepted) for each in servers[:2])
    assert accepted == sum(each.server in ("a", "b") for each in jobs)
    assert all(len(cluster.job(each)["images"]) == 1 for each in ids)


def running_on(cluster: Cluster, ids: list[str], server: str) -> int:
    jobs = [cluster.storage.jobs.get(each) for each in ids]
    return sum(each.server == server and each.upstream_id is not None for each in jobs)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("illness", ["quota", "wrong_key"])
def test_a_key_that_does_not_serve_is_left_for_the_other(cluster: Cluster, illness: str) -> None:
    with OpenAIServer() as good, OpenAIServer() as bad:
        bad.fail(*["quota"] * 20)
        wrong = "sk-wrong-0123456789abcdef" if illness == "wrong_key" else bad.key
        shown = configure(
            cluster,
            IMAGES_OPENAI_SERVERS=[
                {"name": "bad", "base_url": bad.url, "api_key": wrong},
                {"name": "good", "base_url": good.url, "api_key": good.key},
            ],
        )
        assert wrong not in str(shown)

        answers = [cluster.generate(model="openai/gpt-image-1.5", size="auto") for _ in range(5)]

        assert [each.status_code for each in answers] == [200] * 5
        assert len(good.drawn) == 5
        assert bad.drawn == []
        if illness == "quota":
            assert server_states(cluster, "openai") == {"bad": "resting", "good": "ready"}
            assert len(bad.generations) == 1


@pytest.mark.timeout(180)
def test_a_worker_serves_the_engines_it_was_started_for(tmp_path: Any) -> None:
    with (
        ComfyUIServer() as comfyui,
        Cluster(tmp_path, workers=0, no_proxy="127.0.0.1") as cluster,
    ):
        pool_of(cluster, comfyui.origin)
        builtin = cluster.add_worker("--engine", "builtin", "--concurrency", "2")
        builtin.start()

        waits = cluster.submit(prompt="a ship", model=MODEL)
        assert cluster.generate(model="builtin/placeholder").status_code == 200

        ready = cluster.call("GET", "/ready").json()["checks"]["workers"]
        assert (ready["ok"], ready["unserved"]) == (False, ["comfyui"])
        assert "darkroom worker --engine comfyui" in ready["detail"]
        metrics = cluster.call("GET", "/metrics").text
        assert 'darkroom_engine_worker_slots{engine="comfyui"} 0.0' in metrics
        assert 'darkroom_engine_worker_slots{engine="builtin"} 2.0' in metrics
        assert cluster.job(waits)["status"] == "queued"

        other = cluster.add_worker("-Q", "engine.comfyui", "-c", "3", is_celerys=True)
        other.start()
        assert cluster.finished(waits)["status"] == "succeeded"
        assert cluster.call("GET", "/ready").json()["checks"]["workers"] == {"ok": True, "count": 2}
        [attempt] = cluster.attempts(waits)
        assert attempt.worker.split(":")[1] == str(other.pid)

        builtin.kill()
        left = cluster.submit(model="builtin/placeholder")
        builtin.start()
        assert cluster.finished(left)["status"] == "succeeded"


def test_a_worker_for_an_engine_that_is_none_says_so(tmp_path: Any) -> None:
    cluster = Cluster(tmp_path, workers=0)
    worker = cluster.add_worker("--engine", "dalle")

    worker.start(wait=False)

    assert worker.exit_code() != 0
    assert "cannot serve 'dalle'" in worker.output
    assert "Traceback" not in worker.output
