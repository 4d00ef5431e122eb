"""What a large batch costs, for one size beside another in one run. Asserts no speed."""

import json
import time
from pathlib import Path

import pytest
import redis

from tests.benchmarks.memory import peak_mib
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

SIZES = (2_000, 20_000)

BYTES_PER_MIB = 1024 * 1024


def test_accepting_a_batch_of_lines(tmp_path: Path) -> None:
    """Lines accepted and made jobs per second, and what memory that took at most.

    Ten times the lines should take about the same memory. The worker draws meanwhile, as fast as an
    engine of some seconds a picture.
    """
    print()
    for size in SIZES:
        _accept(tmp_path / str(size), size)


def _accept(folder: Path, size: int) -> None:
    lines = _write_lines(folder.with_suffix(".jsonl"), size)
    with Cluster(folder, worker_concurrency=8, builtin_latency_s=2) as cluster:
        # What any first call loads does not count.
        assert cluster.generate().status_code == 200
        parts = {"API": cluster.api, "worker": cluster.workers[0]}
        before = {name: peak_mib(part) for name, part in parts.items()}
        started = time.monotonic()
        with lines.open("rb") as body:
            answer = cluster.call(
                "POST",
                "/api/v1/batches",
                data=body,
                headers={"Content-Type": "application/x-ndjson"},
            )
        accepted_s = time.monotonic() - started
        assert answer.status_code == 201, answer.text
        batch_id = answer.json()["id"]
        until(lambda: _is_planted(cluster, batch_id), "all items are jobs", within_s=300)
        planted_s = time.monotonic() - started
        memory = ", ".join(
            f"{name} {peak_mib(part):.0f} MiB ({peak_mib(part) - before[name]:+.0f})"
            for name, part in parts.items()
        )
        with redis.from_url(cluster.redis_url) as client:
            redis_mib = client.info("memory")["used_memory_peak"] / BYTES_PER_MIB
    print(
        f"{size:6} lines: accepted in {accepted_s:.1f} s ({size / accepted_s:.0f}/s), all of them"
        f" jobs after {planted_s:.1f} s; at most {memory}, Redis {redis_mib:.1f} MiB"
    )


def _write_lines(path: Path, count: int) -> Path:
    with path.open("w") as file:
        for number in range(count):
            prompt = f"a lighthouse at dusk, oil painting, variation {number}"
            file.write(json.dumps({"prompt": prompt, "size": "64x64", "seed": number}) + "\n")
    return path


def _is_planted(cluster: Cluster, batch_id: str) -> bool:
    batch = cluster.storage.batches.get(batch_id)
    return batch.planted == batch.total
