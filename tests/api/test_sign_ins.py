"""How often a password may be tried."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import fakeredis
import pytest
from flask import Flask
from flask.testing import FlaskClient

from darkroom.settings import Settings
from tests.api.conftest import Answer, Caller

PASSWORD = "a password"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, sign_ins_per_account=3, sign_ins_per_address=5, enable_signup=True)


@pytest.fixture
def anna(sign_in: Callable[..., Caller]) -> Caller:
    return sign_in("anna@example.org", password=PASSWORD)


def attempt(
    client: FlaskClient,
    email: str = "anna@example.org",
    password: str = "wrong",  # noqa: S107
    *,
    forwarded: str | None = None,
) -> Answer:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    body = {"email": email, "password": password}
    return client.post("/api/v1/auths/signin", json=body, headers=headers)  # type: ignore[return-value]


def test_too_many_attempts_are_refused_even_with_the_right_password(anna: Caller) -> None:
    wrong = [attempt(anna.client) for _ in range(3)]
    right = attempt(anna.client, "ANNA@example.org ", PASSWORD)

    assert [each.status_code for each in wrong] == [401, 401, 401]
    assert (right.status_code, right.json["code"]) == (429, "too_many_sign_ins")
    assert 0 < int(right.headers["Retry-After"]) <= 300
    assert anna.get("/api/v1/auths/").status_code == 200


def test_an_account_that_is_not_there_looks_the_same(anna: Caller) -> None:
    answers = [attempt(anna.client, "nobody@example.org") for _ in range(4)]

    assert [each.status_code for each in answers] == [401, 401, 401, 429]


def test_a_success_clears_the_attempts(anna: Caller) -> None:
    for _ in range(2):
        assert [attempt(anna.client).status_code for _ in range(2)] == [401, 401]
        assert attempt(anna.client, password=PASSWORD).status_code == 200


def test_many_at_once_do_not_slip_through(anna: Caller, app: Flask) -> None:
    with ThreadPoolExecutor(8) as callers:
        statuses = list(callers.map(lambda _: attempt(app.test_client()).status_code, range(8)))

    assert statuses.count(401) == 3


def test_an_address_has_a_limit_over_all_accounts(anna: Caller) -> None:
    statuses = [attempt(anna.client, f"{each}@example.org").status_code for each in range(6)]

    assert statuses == [401] * 5 + [429]
    new = {"name": "Bo", "email": "bo@example.org", "password": PASSWORD}
    assert anna.nobody.post("/api/v1/auths/signup", json=new).status_code == 429


def test_signing_up_counts_against_the_address(anna: Caller) -> None:
    def sign_up(number: int) -> int:
        new = {"name": "Bo", "email": f"{number}@example.org", "password": PASSWORD}
        return anna.nobody.post("/api/v1/auths/signup", json=new).status_code

    assert [sign_up(each) for each in range(6)] == [201] * 5 + [429]


def test_the_old_password_cannot_be_guessed_either(anna: Caller) -> None:
    def change(password: str) -> int:
        body = {"password": password, "new_password": "another one"}
        return anna.post("/api/v1/auths/update/password", json=body).status_code

    assert [change("wrong") for _ in range(3)] == [400, 400, 400]
    assert change(PASSWORD) == 429


def test_without_redis_a_process_counts_for_itself(
    anna: Caller, redis_server: fakeredis.FakeServer
) -> None:
    redis_server.connected = False

    assert [attempt(anna.client).status_code for _ in range(4)] == [401, 401, 401, 429]


def test_a_header_that_no_proxy_vouches_for_is_not_believed(anna: Caller) -> None:
    statuses = [
        attempt(anna.client, f"{each}@example.org", forwarded=f"10.0.0.{each}").status_code
        for each in range(6)
    ]

    assert statuses[-1] == 429


def test_behind_a_proxy_each_client_has_its_own_address(
    anna: Caller, make_app: Callable[[Settings], Flask], settings: Settings
) -> None:
    client = make_app(replace(settings, trusted_proxies=1)).test_client()

    # What the client says of itself stands before what the proxy adds.
    for each in range(6):
        attempt(client, f"{each}@example.org", forwarded=f"1.2.3.{each}, 10.0.0.1")

    assert attempt(client, "z@example.org", forwarded="10.0.0.1").status_code == 429
    assert attempt(client, "z@example.org", forwarded="10.0.0.2").status_code == 401


@pytest.mark.parametrize(
    ("addresses", "is_one"),
    [
        (["2001:db8:0:1::1", "2001:db8:0:1:ffff::2"], True),
        (["2001:db8:0:1::1", "2001:db8:0:2::1"], False),
        (["192.0.2.1", "::ffff:192.0.2.1"], True),
        (["192.0.2.1", "192.0.2.2"], False),
    ],
)
def test_who_has_a_whole_network_is_one_caller(
    make_app: Callable[..., Flask], settings: Settings, addresses: list[str], is_one: bool
) -> None:
    client = make_app(replace(settings, trusted_proxies=1)).test_client()

    first, second = addresses
    for number in range(5):
        attempt(client, f"{number}@example.org", forwarded=first)

    assert attempt(client, "6@example.org", forwarded=first).status_code == 429
    status = attempt(client, "7@example.org", forwarded=second).status_code
    assert status == (429 if is_one else 401)
