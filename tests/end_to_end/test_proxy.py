"""What `deploy/nginx/darkroom.conf` promises, behind a real nginx."""

import json
import re
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from darkroom.settings import Settings
from tests.end_to_end.cluster import Cluster
from tests.end_to_end.nginx import CONFIGURATION, Nginx, program

pytestmark = [
    pytest.mark.skipif(program() is None, reason="nginx is not installed"),
    pytest.mark.timeout(120),
]

#: What each server says in its own way, or that is new in each answer. (nginx names `Accept-Ranges`
#: with whole files only.)
ITS_OWN = {"Accept-Ranges", "Date", "Server", "Connection", "Last-Modified", "X-Request-ID"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("proxy")
    with (
        Cluster(
            folder,
            apis=2,
            storage_url=(folder / "files").as_uri(),
            builtin_script=True,
            accel_location="/_files/",
            hsts_s=600,
            cors_origins="https://pages.example.org",
        ) as cluster,
        Nginx(folder / "nginx", ports=cluster.api_ports, files=folder / "files") as nginx,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("REQUESTS_CA_BUNDLE", str(nginx.certificate))
        cluster.url = nginx.url
        yield cluster


@pytest.fixture(scope="module")
def picture(cluster: Cluster) -> str:
    """Where a picture is."""
    url: str = cluster.generate().json()[0]["url"]
    return url


def directly(cluster: Cluster, path: str, **headers: str) -> requests.Response:
    """The answer of Darkroom itself, as to a proxy with TLS."""
    return requests.get(
        f"http://127.0.0.1:{cluster.api_ports[0]}{path}",
        headers={"Authorization": f"Bearer {cluster.key}", "X-Forwarded-Proto": "https"} | headers,
        timeout=60,
    )


def test_darkroom_leaves_the_bytes_to_nginx_and_sends_them_to_everybody_else(
    cluster: Cluster, picture: str
) -> None:
    to_nginx = directly(cluster, picture, **{"X-Sendfile-Type": "X-Accel-Redirect"})

    assert to_nginx.headers["X-Accel-Redirect"].startswith("/_files/")
    assert to_nginx.content == b""
    assert directly(cluster, picture).content.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://pages.example.org"},
        {"Range": "bytes=3-9"},
        {"Range": "bytes=-5"},
        {"Range": "bytes=0-1,4-5"},
        {"Range": "bytes=9999999-"},
        {"If-None-Match": "ETAG"},
        {"If-None-Match": '"another"'},
        {"If-Match": "ETAG"},
        {"If-Match": '"another"'},
        {"Range": "bytes=3-9", "If-Range": "ETAG"},
        {"Range": "bytes=3-9", "If-Range": '"another"'},
    ],
    ids=str,
)
@pytest.mark.parametrize("thumbnail", ["", "?w=32"])
def test_a_picture_is_answered_as_by_darkroom_itself(
    cluster: Cluster, picture: str, headers: dict[str, str], thumbnail: str
) -> None:
    picture += thumbnail
    tag = directly(cluster, picture).headers["ETag"]
    asked = {name: value.replace("ETAG", tag) for name, value in headers.items()}

    expected = directly(cluster, picture, **asked)
    answer = cluster.call("GET", picture, headers=asked)

    assert answer.status_code == expected.status_code
    if answer.ok:
        assert answer.content == expected.content
        assert {name: value for name, value in answer.headers.items() if name not in ITS_OWN} == {
            name: value for name, value in expected.headers.items() if name not in ITS_OWN
        }
    else:
        assert answer.json()["code"] == expected.json()["code"]


def test_strangers_do_not_get_at_a_picture(cluster: Cluster, picture: str) -> None:
    _, stranger = cluster.add_user("stranger")
    files = cluster.folder / "files"
    inside = next(each for each in files.rglob("*") if len(each.name) == 64).relative_to(files)

    assert cluster.call("GET", picture, headers=stranger).status_code == 404
    assert requests.get(f"{cluster.url}{picture}", timeout=60).status_code == 401
    assert cluster.call("GET", f"/_files/{inside}").status_code == 404


def test_a_signed_link_names_the_proxy_and_leads_to_the_picture(cluster: Cluster) -> None:
    answer = cluster.call(
        "POST",
        "/v1/images/generations",
        json={"prompt": "a ship", "size": "64x64", "response_format": "url"},
    )
    link = answer.json()["data"][0]["url"]

    assert link.startswith(f"{cluster.url}/")
    assert requests.get(link, timeout=60).content.startswith(b"\x89PNG")
    assert requests.get(link[:-1], timeout=60).status_code == 403


def test_an_event_passes_while_the_picture_is_still_drawn(cluster: Cluster) -> None:
    job_id = cluster.submit(prompt="a ship [latency=60]")
    with cluster.call("GET", f"/api/v1/jobs/{job_id}/events", stream=True) as answer:
        data = next(
            each for each in answer.iter_lines(decode_unicode=True) if each.startswith("data: ")
        )
        assert json.loads(data.removeprefix("data: "))["finished_at"] is None
    cluster.call("POST", f"/api/v1/jobs/{job_id}/cancel")


def test_a_call_may_wait_for_as_long_as_darkroom_lets_it(cluster: Cluster) -> None:
    assert read_timeout_s() > Settings().wait_s
    assert cluster.generate(prompt="a ship [latency=5]").status_code == 200


def read_timeout_s() -> int:
    found = re.search(r"proxy_read_timeout (\d+)s;", CONFIGURATION.read_text())
    assert found is not None
    return int(found[1])


class Silent(socketserver.ThreadingTCPServer):
    """Reads a request to its end, and closes the connection without an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(socketserver.StreamRequestHandler):
    server: Silent

    def handle(self) -> None:
        self.server.seen.append(self.rfile.readline().decode().split()[0])
        while self.rfile.readline().strip():
            pass


def test_a_post_that_may_have_been_received_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Silent() as first, Silent() as second:
        proxy = Nginx(tmp_path / "nginx", ports=(first.port, second.port), files=tmp_path)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(proxy.certificate))
        with proxy:
            first.seen.clear()
            second.seen.clear()
            assert requests.post(f"{proxy.url}/", timeout=60).status_code == 502
            assert first.seen + second.seen == ["POST"]
            assert requests.get(f"{proxy.url}/", timeout=60).status_code == 502
            assert sorted(first.seen + second.seen) == ["GET", "GET", "POST"]
        first.shutdown()
        second.shutdown()
