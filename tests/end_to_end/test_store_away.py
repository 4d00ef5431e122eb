"""An object store that is away for a while costs no job, and has none drawn again."""

from pathlib import Path

import pytest

from darkroom.domain import JobStatus
from tests.backends.choice import only_shared, required_store
from tests.backends.object_store import ObjectStore
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster


@only_shared
@pytest.mark.timeout(180)
def test_pictures_wait_for_a_store_that_is_away(tmp_path: Path) -> None:
    with (
        ObjectStore(required_store()) as store,
        Cluster(
            tmp_path,
            storage_url=store.url("pictures"),
            worker_concurrency=4,
            builtin_latency_s=0.3,
        ) as cluster,
    ):
        before = cluster.generate().json()[0]["url"]
        job_ids = [cluster.submit(seed=number) for number in range(12)]
        until(lambda: cluster.runs_begun() >= 4, "some are drawn")

        store.kill()

        refused = cluster.call("GET", before)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        worker = cluster.workers[0]
        until(lambda: "waiting for storage" in worker.output, "one is drawn and cannot be kept")

        store.start()

        jobs = cluster.all_finished(job_ids)
        assert {job.status for job in jobs} == {JobStatus.SUCCEEDED}
        assert set(cluster.calls_by_job().values()) == {1}
        assert cluster.call("GET", before).ok
        assert len(cluster.storage.files.keys()) == 13
