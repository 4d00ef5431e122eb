"""Batches as real processes draw them: beside other work, and whatever dies."""

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

LATENCY_S = 0.5
SLOTS = 4


def lines(count: int) -> bytes:
    return b"".join(
        json.dumps({"prompt": f"ship {number}", "size": "64x64", "seed": number}).encode() + b"\n"
        for number in range(count)
    )


def hand_over(cluster: Cluster, body: bytes, **headers: str) -> requests.Response:
    return cluster.call(
        "POST",
        "/api/v1/batches",
        data=body,
        headers={"Content-Type": "application/x-ndjson", **headers},
    )


def _has_begun(cluster: Cluster, runs: int) -> bool:
    return cluster.runs_begun() >= runs


def results(cluster: Cluster, batch: dict[str, Any]) -> list[Any]:
    answer = cluster.call("GET", batch["results_url"])
    return [json.loads(line) for line in answer.iter_lines() if line]


@pytest.mark.timeout(180)
def test_an_interactive_call_starts_at_once_during_a_batch_of_fifty_thousand(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path, worker_concurrency=SLOTS, builtin_latency_s=LATENCY_S) as cluster:
        batch = hand_over(cluster, lines(50_000)).json()
        assert batch["counts"]["total"] == 50_000
        until(lambda: cluster.runs_begun() >= SLOTS, "the batch fills all slots")

        # By the batch's own owner, who has as much waiting as one user may.
        job_ids = [cluster.submit(prompt=f"one picture, {number}") for number in range(3)]

        for job in cluster.all_finished(job_ids):
            assert cluster.overtaken_by(job) <= 2 * SLOTS, "within two turns of all slots"
        now = cluster.call("GET", batch["url"]).json()
        assert now["status"] == "running"
        assert now["estimated_finish_at"] > now["created_at"]
        canceled = cluster.call("POST", f"{batch['url']}/cancel").json()
        assert canceled["counts"]["queued"] == 0


@pytest.mark.timeout(180)
def test_a_batch_is_drawn_whole_whatever_is_killed(tmp_path: Path) -> None:
    count = 1200
    with Cluster(
        tmp_path, workers=2, worker_concurrency=8, lease_s=3, builtin_latency_s=0.02
    ) as cluster:
        batch = hand_over(cluster, lines(count)).json()
        cluster.api.kill()
        for number, worker in enumerate(cluster.workers, start=1):
            enough = partial(_has_begun, cluster, 150 * number)
            until(enough, "a part of it is drawn")
            worker.kill()
            worker.start()
        cluster.api.start()

        until(
            lambda: cluster.call("GET", batch["url"]).json()["status"] == "finished",
            "the batch is finished",
            within_s=120,
        )

        found = results(cluster, batch)
        assert sorted(each["line"] for each in found) == list(range(1, count + 1))
        assert {each["status"] for each in found} == {"succeeded"}
        assert {len(each["images"]) for each in found} == {1}
        assert all(each["prompt"] == f"ship {each['line'] - 1}" for each in found)
        cluster.await_no_leftovers()


@pytest.mark.timeout(120)
def test_a_call_that_dies_half_way_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    body = lines(20_000)
    with Cluster(tmp_path, worker_concurrency=SLOTS, builtin_latency_s=1) as cluster:
        outcomes: list[object] = []

        def call() -> None:
            try:
                outcomes.append(hand_over(cluster, body, **{"Idempotency-Key": "once"}).status_code)
            except requests.ConnectionError as error:
                outcomes.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        # Reading twenty thousand lines takes it longer than this.
        caller.join(0.5)
        cluster.api.kill()
        caller.join()
        assert isinstance(outcomes[0], requests.ConnectionError)
        assert cluster.storage.batches.list() == []
        assert cluster.runs_begun() == 0
        cluster.api.start()

        first = hand_over(cluster, body, **{"Idempotency-Key": "once"}).json()
        again = hand_over(cluster, body, **{"Idempotency-Key": "once"}).json()

        assert first["id"] == again["id"]
        assert first["counts"]["total"] == 20_000


def test_results_are_followed_while_they_come(tmp_path: Path) -> None:
    with Cluster(tmp_path, worker_concurrency=SLOTS, builtin_latency_s=0.2) as cluster:
        batch = hand_over(cluster, lines(40)).json()

        with requests.get(
            f"{cluster.url}{batch['results_url']}?follow=true",
            headers={"Authorization": f"Bearer {cluster.key}"},
            stream=True,
            timeout=60,
        ) as answer:
            following = (json.loads(line) for line in answer.iter_lines() if line)
            first = next(following)
            while_it_runs = cluster.call("GET", batch["url"]).json()["status"]
            rest = list(following)

        assert while_it_runs == "running"
        assert sorted(each["line"] for each in [first, *rest]) == list(range(1, 41))
