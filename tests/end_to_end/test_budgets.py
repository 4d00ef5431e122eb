"""Budgets hold to the picture: two API processes, a worker, many calls at once."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests

from tests.end_to_end.cluster import Cluster

CALLS = 50
MOST = 10


def _at_once(call: Callable[[int], requests.Response]) -> list[requests.Response]:
    with ThreadPoolExecutor(CALLS) as pool:
        return list(pool.map(call, range(CALLS)))


def _priced(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "models.json"
    path.write_bytes(orjson.dumps({"builtin": {"placeholder": {"price": "0.10"}}}))
    return path


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"images_per_day": MOST}, "quota_exceeded"),
        # Ten times ten cents, which as floats are less than a unit.
        ({"budget_per_month": "1.00"}, "budget_exceeded"),
    ],
    ids=["images", "money"],
)
def test_of_fifty_calls_at_once_ten_are_drawn(
    tmp_path: Path, limit: dict[str, Any], code: str
) -> None:
    settings: dict[str, Any] = {"model_catalog": _priced(tmp_path), "api_processes": 2} | limit
    with Cluster(tmp_path / "cluster", **settings) as cluster:
        _, someone = cluster.add_user("someone")

        answers = _at_once(lambda number: cluster.generate(someone, seed=number))

        assert Counter(each.status_code for each in answers) == {200: MOST, 429: CALLS - MOST}
        refused = [each for each in answers if each.status_code == 429]
        assert {each.json()["code"] for each in refused} == {code}
        assert all(int(each.headers["Retry-After"]) > 0 for each in refused)
        assert len(cluster.runs()) == MOST
        [line] = cluster.call("GET", "/api/v1/usage/", headers=someone).json()["lines"]
        assert (line["jobs"], line["images"], line["cost"]) == (MOST, MOST, "1.00")
        other = cluster.add_user("another")[1]
        assert cluster.generate(other).status_code == 200


@pytest.mark.timeout(240)
def test_failed_and_canceled_jobs_give_their_share_back(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"images_per_day": 2, "builtin_script": True, "max_attempts": 1}
    with Cluster(tmp_path / "cluster", **settings) as cluster:
        _, someone = cluster.add_user("someone")
        failed = cluster.generate(someone, n=2, prompt="[fault=RequestRejected] a ship")
        assert failed.status_code == 400

        cluster.workers[0].kill()
        job_id = cluster.submit(someone, n=2)
        assert cluster.generate(someone).status_code == 429
        assert cluster.call("POST", f"/api/v1/jobs/{job_id}/cancel", headers=someone).ok
        again = cluster.submit(someone, n=2)
        cluster.workers[0].start()

        assert cluster.finished(again)["status"] == "succeeded"
        assert cluster.generate(someone).status_code == 429
        quota = cluster.call("GET", "/api/v1/usage/quota", headers=someone).json()["quotas"]
        assert [each["used"] for each in quota] == ["2"]
        assert _usage(cluster, "--by", "user", "--csv").count("someone@example.org") == 1
        assert "someone@example.org" in _usage(cluster)


def _usage(cluster: Cluster, *options: str) -> str:
    command = [sys.executable, "-P", "-m", "darkroom", "usage", "--server", cluster.url]
    shown = subprocess.run(
        [*command, "--key", cluster.key, *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return shown.stdout
