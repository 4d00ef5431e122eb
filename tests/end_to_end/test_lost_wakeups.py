"""Messages only wake; without any, whoever waits hears of the end all the same."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.end_to_end.cluster import Cluster

#: How long a call waits at most. One that nothing tells of the job's end waits all of it.
WAIT_S = 40.0


@pytest.mark.timeout(120)
def test_waiting_callers_answer_though_no_message_arrives(tmp_path: Path) -> None:
    def waits(seed: int) -> float:
        """How long after the job's end its caller was answered, in seconds."""
        answer = cluster.generate(seed=seed)
        answered_at = time.time()
        assert answer.status_code == 200, answer.text
        finished_at = cluster.storage.jobs.get(answer.headers["Darkroom-Job"]).finished_at
        assert finished_at is not None
        return answered_at - finished_at

    with (
        Cluster(
            tmp_path,
            broker_options=["--rename-command", "PUBLISH", ""],
            builtin_latency_s=1.5,
            wait_s=WAIT_S,
        ) as cluster,
        ThreadPoolExecutor(20) as callers,
    ):
        late_s = list(callers.map(waits, range(20)))

        assert max(late_s) < WAIT_S / 2
        assert "not announced" in cluster.workers[0].output
