"""How often somebody may ask for pictures, and what they are told of it."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import fakeredis
import pytest
import redis
from flask import Flask
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.counting import Counters
from api.services import EXTENSION
from darkroom.broker import find_server
from darkroom.errors import Unavailable
from darkroom.settings import Settings
from storage import Storage
from tests.api.conftest import Caller, InlineQueue

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, requests_per_minute=2)


def with_key(caller: Caller) -> Caller:
    key = caller.post("/api/v1/auths/api_key").json["api_key"]
    return Caller(caller.client, {"Authorization": f"Bearer {key}"}, caller.user)


def test_every_answer_says_what_is_left(anna: Caller) -> None:
    answers = [anna.generate(), anna.generate(n=0), anna.generate()]

    assert [each.status_code for each in answers] == [200, 400, 429]
    assert [each.headers["RateLimit-Limit"] for each in answers] == ["2", "2", "2"]
    assert [each.headers["RateLimit-Remaining"] for each in answers] == ["1", "0", "0"]
    assert all(60 < int(each.headers["RateLimit-Reset"]) <= 120 for each in answers)
    assert answers[2].json["code"] == "rate_limited"
    assert 0 < int(answers[2].headers["Retry-After"]) <= 61


def test_one_user_takes_nothing_from_another(anna: Caller, sign_in: Callable[..., Caller]) -> None:
    for _ in range(3):
        anna.generate()

    assert sign_in("bo@example.org").generate().status_code == 200


def test_all_ways_to_ask_for_pictures_share_the_limit(anna: Caller) -> None:
    lines = {"items": [{"prompt": "a fox", "size": "64x64"}] * 5}

    assert anna.post("/api/v1/batches", json=lines).status_code == 201
    assert anna.post("/v1/images/generations", json={"prompt": "a fox"}).status_code == 200
    assert anna.post("/api/v1/batches", json=lines).status_code == 429
    assert anna.get("/api/v1/jobs").status_code == 200


def test_openais_clients_are_told_in_their_words(anna: Caller) -> None:
    drawn, _, refused = (
        anna.post("/v1/images/generations", json={"prompt": "a fox"}) for _ in range(3)
    )

    assert drawn.headers["x-ratelimit-limit-requests"] == "2"
    assert drawn.headers["x-ratelimit-remaining-requests"] == "1"
    assert drawn.headers["x-ratelimit-reset-requests"] in ("2m0s", "1m59s")
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["x-should-retry"] == "true"
    assert int(refused.headers["Retry-After"]) > 0


def test_a_role_and_an_account_can_have_another_rate(
    anna: Caller, admin: Caller, sign_in: Callable[..., Caller]
) -> None:
    admin.put("/api/v1/roles/team", json={"limits": {"requests_per_minute": 3}})
    team = sign_in("team@example.org", "team")
    own = {"own_limits": {"requests_per_minute": 4}}
    admin.patch(f"/api/v1/users/{anna.user.id}", json=own)

    assert team.generate().headers["RateLimit-Limit"] == "3"
    assert anna.generate().headers["RateLimit-Limit"] == "4"


def test_an_api_key_has_a_rate_of_its_own(
    anna: Caller, make_app: Callable[[Settings], Flask], settings: Settings
) -> None:
    few = replace(settings, requests_per_minute=5, requests_per_minute_per_key=1)
    anna.client = make_app(few).test_client()
    one, other = with_key(anna), with_key(anna)

    assert [one.generate().status_code for _ in range(2)] == [200, 429]
    assert other.generate().headers["RateLimit-Limit"] == "1"
    assert anna.generate().headers["RateLimit-Limit"] == "5"


def test_what_a_key_is_refused_uses_nothing_up_of_the_account(
    anna: Caller, make_app: Callable[[Settings], Flask], settings: Settings
) -> None:
    few = replace(settings, requests_per_minute=3, requests_per_minute_per_key=1)
    anna.client = make_app(few).test_client()
    greedy, modest = with_key(anna), with_key(anna)

    assert [greedy.generate().status_code for _ in range(4)] == [200, 429, 429, 429]
    assert modest.generate().status_code == 200
    assert anna.generate().headers["RateLimit-Remaining"] == "0"


def test_nothing_is_said_where_there_is_no_limit(
    anna: Caller, make_app: Callable[[Settings], Flask], settings: Settings
) -> None:
    anna.client = make_app(replace(settings, requests_per_minute=None)).test_client()

    assert "RateLimit-Limit" not in anna.generate().headers


def test_calls_pass_while_redis_is_away_and_the_log_says_so_once(
    anna: Caller,
    queue: InlineQueue,
    redis_server: fakeredis.FakeServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    queue.is_held = True
    redis_server.connected = False

    answers = [anna.generate(headers=ASYNC) for _ in range(3)]

    assert [each.status_code for each in answers] == [202, 202, 202]
    assert capsys.readouterr().out.count("calls are not counted while Redis is away") == 1


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_redis_that_never_answers_is_asked_once(silent: socket.socket) -> None:
    client = redis.Redis(
        port=silent.getsockname()[1],
        socket_timeout=0.05,
        socket_connect_timeout=0.05,
        retry=Retry(NoBackoff(), 0),
    )
    counters = Counters(client)

    for _ in range(100):
        with pytest.raises(Unavailable):
            counters.count({"user:1": 1}, window_s=60)

    silent.settimeout(5)
    silent.accept()[0].close()
    silent.settimeout(0.01)
    with pytest.raises(TimeoutError):
        silent.accept()
    client.close()


@pytest.fixture
def real_redis(tmp_path: Path) -> Iterator[str]:
    """The URL of a real server, which has seen none of the scripts."""
    with tempfile.TemporaryDirectory(prefix="dk") as short:
        path = Path(short, "redis")
        command = [find_server().path, "--port", "0", "--unixsocket", str(path), "--save", ""]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as server:
            while not path.exists():
                assert server.poll() is None
                time.sleep(0.01)
            yield f"unix://{path}"
            server.terminate()


def test_processes_that_count_at_once_let_exactly_as_many_through(real_redis: str) -> None:
    def call(_: int) -> int:
        with redis.Redis.from_url(real_redis, decode_responses=True) as client:
            counters = Counters(client)
            counts = [counters.count({"user:1": 30}, window_s=60)[0] for _ in range(20)]
            return sum(not each.is_over for each in counts)

    with ThreadPoolExecutor(4) as processes:
        assert sum(processes.map(call, range(4))) == 30


def test_after_the_time_that_was_told_a_call_is_let_through(app: Flask) -> None:
    counters: Counters = app.extensions[EXTENSION].counters
    limits = {"user:1": 3}
    while not (last := counters.count(limits, window_s=1)[0]).is_over:
        pass

    time.sleep(last.retry_after_s + 0.05)

    assert not counters.count(limits, window_s=1)[0].is_over


def test_no_key_is_in_redis(anna: Caller, storage: Storage, broker: "redis.Redis") -> None:
    caller = with_key(anna)
    caller.generate()

    names = str(broker.keys("darkroom:calls:*"))
    assert anna.user.id in names
    assert caller.headers["Authorization"].removeprefix("Bearer ")[3:] not in names
