"""A new release comes in, one process at a time, and nobody notices."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.backends.postgresql import PostgreSQL, programs
from tests.end_to_end.caller import PATIENCE_S, until
from tests.end_to_end.cluster import Cluster
from tests.end_to_end.nginx import Nginx, program

pytestmark = pytest.mark.skipif(program() is None, reason="nginx is not installed")

#: Callers of each kind.
CALLERS = 3


@pytest.fixture
def database() -> Iterator[dict[str, str]]:
    """PostgreSQL where it is installed, else the file that comes along."""
    found = programs()
    if found is None:
        yield {}
        return
    with PostgreSQL(found) as server:
        yield {"database_url": server.new_database("rolling")}


class User:
    """Someone who does what the documentation says, and takes down everything that goes wrong."""

    def __init__(self, cluster: Cluster) -> None:
        self._url = cluster.url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {cluster.key}"
        self.job_ids: list[str] = []
        self.refusals = 0

    def close(self) -> None:
        self._session.close()

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Repeats only a call that was answered 503 with Retry-After."""
        while True:
            answer = self._session.request(
                method, f"{self._url}{path}", timeout=PATIENCE_S, **options
            )
            if answer.status_code != 503 or "Retry-After" not in answer.headers:
                assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
                return answer
            self.refusals += 1
            time.sleep(0.05)

    def ask(self, **headers: str) -> requests.Response:
        body = {"prompt": "a lighthouse", "size": "64x64"}
        answer = self.call("POST", "/api/images/generations", json=body, headers=headers)
        self.job_ids.append(answer.headers["Darkroom-Job"])
        return answer

    def wait_for_a_picture(self) -> None:
        answer = self.ask()
        if answer.status_code == 202:
            self.poll(answer.headers["Location"])

    def poll_for_a_picture(self) -> None:
        self.poll(self.ask(Prefer="respond-async").headers["Location"])

    def poll(self, location: str) -> None:
        while self.call("GET", location).json()["finished_at"] is None:
            time.sleep(0.05)

    def follow_a_picture(self) -> None:
        location, seen = self.ask(Prefer="respond-async").headers["Location"], ""
        while True:
            headers = {"Last-Event-ID": seen} if seen else {}
            with self.call("GET", f"{location}/events", headers=headers, stream=True) as answer:
                for line in answer.iter_lines(decode_unicode=True):
                    if line.startswith("id: "):
                        seen = line.removeprefix("id: ")
                    elif line.startswith("data: ") and json.loads(line[6:])["finished_at"]:
                        return

    def download(self, url: str, expected: bytes) -> None:
        assert self.call("GET", url).content == expected


@pytest.mark.timeout(240)
def test_every_process_is_restarted_under_load_and_no_call_fails(
    tmp_path: Path, database: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cluster(
        tmp_path,
        apis=2,
        workers=2,
        builtin_latency_s=0.3,
        accel_location="/_files/",
        # What nginx sends itself.
        storage_url=(tmp_path / "files").as_uri(),
        stop_s=10,
        **database,
    ) as cluster:
        with Nginx(tmp_path / "nginx", ports=cluster.api_ports, files=tmp_path / "files") as nginx:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(nginx.certificate))
            cluster.url = nginx.url
            url = cluster.generate().json()[0]["url"]
            picture = cluster.call("GET", url).content
            users = [User(cluster) for _ in range(4 * CALLERS)]
            enough = threading.Event()
            rounds: Counter[str] = Counter()

            def go_on(number: int) -> None:
                user = users[number]
                deeds: list[Callable[[], None]] = [
                    user.wait_for_a_picture,
                    user.poll_for_a_picture,
                    user.follow_a_picture,
                    lambda: user.download(url, picture),
                ]
                while not enough.is_set():
                    deeds[number % 4]()
                    rounds[str(number % 4)] += 1

            def all_go_on() -> None:
                """They all get something done from now on."""
                before = rounds.copy()
                until(
                    lambda: (
                        all(rounds[each] >= before[each] + CALLERS for each in "0123")
                        or any(each.done() for each in calls)
                    ),
                    "every kind of call gets on",
                )

            with ThreadPoolExecutor(len(users)) as pool:
                calls = [pool.submit(go_on, number) for number in range(len(users))]
                try:
                    for part in (*cluster.apis, *cluster.workers):
                        all_go_on()
                        part.terminate()
                        assert part.exit_code() == 0, part.output
                        part.start()
                    all_go_on()
                finally:
                    enough.set()
                for each in calls:
                    each.result()
            for user in users:
                user.close()

        job_ids = [each for user in users for each in user.job_ids]
        jobs = cluster.all_finished(job_ids)
        drawn = cluster.calls_by_job()
        assert Counter(each.status for each in jobs) == {"succeeded": len(job_ids)}
        assert {each: drawn[each] for each in job_ids} == dict.fromkeys(job_ids, 1)
        assert len(drawn) == len(job_ids) + 1
