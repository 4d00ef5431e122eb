"""A broker that many machines share: behind a password, in a database of its own, and over TLS."""

import shutil
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from darkroom import bus
from darkroom.settings import Settings
from tests.backends.certificates import make_certificate
from tests.backends.choice import installed
from tests.backends.ports import free_port
from tests.end_to_end.cluster import Cluster

PASSWORD = "a/b c@d"
QUOTED = "a%2Fb%20c%40d"


def test_a_job_finishes_over_a_password_and_a_database_of_its_own(tmp_path: Path) -> None:
    port = free_port()
    with Cluster(
        tmp_path,
        broker_options=("--port", str(port), "--requirepass", PASSWORD),
        redis_url=f"redis://:{QUOTED}@127.0.0.1:{port}/3",
    ) as cluster:
        assert cluster.finished(cluster.submit())["status"] == "succeeded"

        assert _databases(redis.Redis(port=port, password=PASSWORD)) == {"db3"}
        for part in (cluster.api, *cluster.workers):
            assert PASSWORD not in part.output
            assert QUOTED not in part.output


def test_a_job_finishes_over_tls_with_a_server_that_is_known(tmp_path: Path) -> None:
    # The server that Darkroom brings has no TLS.
    server = installed(shutil.which("redis-server"), "redis-server")
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    over_tls = ("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no")
    of_its_own = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with Cluster(
        tmp_path,
        broker_program=server,
        broker_options=(*over_tls, *of_its_own),
        redis_url=f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}",
    ) as cluster:
        assert cluster.finished(cluster.submit())["status"] == "succeeded"

        # Whoever does not know the certificate gets nothing, whichever library asks.
        unknown = Settings(redis_url=f"rediss://127.0.0.1:{port}/0")
        with bus.connect(unknown) as client, pytest.raises(redis.ConnectionError, match="CERT"):
            client.ping()
        celery = Celery(broker=bus.celery_url(unknown), set_as_current=False)
        with celery.connection_for_write() as asking, pytest.raises(OperationalError, match="CERT"):
            asking.ensure_connection(max_retries=0, timeout=5)


def _databases(client: "redis.Redis") -> set[str]:
    """Those that hold something."""
    with client:
        return set(client.info("keyspace"))
