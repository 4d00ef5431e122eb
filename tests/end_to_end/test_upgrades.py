"""Old processes go on while the next release comes in."""

from pathlib import Path

import pytest
from sqlalchemy import text

from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster


@pytest.mark.timeout(120)
def test_a_release_works_and_starts_on_the_schema_of_a_later_one(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        with cluster.storage.database.writing() as connection:
            for change in (
                "ALTER TABLE jobs ADD COLUMN mood VARCHAR DEFAULT 'calm' NOT NULL",
                "ALTER TABLE images ADD COLUMN frame VARCHAR",
                "CREATE TABLE moods (name VARCHAR PRIMARY KEY)",
                "UPDATE alembic_version SET version_num = '9999'",
            ):
                connection.execute(text(change))

        assert cluster.generate().status_code == 200
        for part in (cluster.api, *cluster.workers):
            part.terminate()
            assert part.exit_code() == 0
            part.start()

        assert cluster.generate().status_code == 200
        assert cluster.call("GET", "/ready").status_code == 200


@pytest.mark.timeout(120)
def test_a_process_that_drains_is_not_ready_but_answers(tmp_path: Path) -> None:
    with Cluster(tmp_path, drain_s=5) as cluster:
        assert cluster.call("GET", "/ready").status_code == 200

        cluster.api.terminate()

        until(lambda: cluster.call("GET", "/ready").status_code == 503, "it is not ready")
        assert cluster.generate().status_code == 200
        assert cluster.api.exit_code() == 0
