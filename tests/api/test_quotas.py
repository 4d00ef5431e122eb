"""Estimates, quotas and budgets, and what is told of them."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask

from darkroom.settings import Settings
from tests.api.conftest import Caller, InlineQueue
from tests.api.test_edits import data_url, picture

ASYNC = {"Prefer": "respond-async"}
ONE_FOR_TEN_CENTS = {"builtin": {"placeholder": {"price": {"64x64": 0.1, "*": 0.2}}}}


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    path = tmp_path / "models.json"
    path.write_bytes(orjson.dumps(ONE_FOR_TEN_CENTS))
    return path


@pytest.fixture
def settings(settings: Settings, catalog: Path) -> Settings:
    return replace(settings, model_catalog=catalog)


@pytest.fixture
def limited(
    make_app: Callable[[Settings], Flask], settings: Settings, anna: Caller
) -> Callable[..., Caller]:
    """Anna, at a server with these settings."""

    def make(**changes: Any) -> Caller:
        return replace(anna, client=make_app(replace(settings, **changes)).test_client())

    return make


def test_a_request_is_estimated_without_drawing_it(anna: Caller) -> None:
    answer = anna.post("/api/v1/images/estimate", json={"prompt": "p", "n": 3, "size": "64x64"})

    assert answer.status_code == 200
    assert answer.json["cost"] == {
        "estimated": "0.30",
        "actual": None,
        "currency": "USD",
        "is_known": True,
    }
    assert (answer.json["engine"], answer.json["n"]) == ("builtin", 3)
    assert anna.get("/api/v1/jobs/").json == []


def test_an_edit_is_estimated_as_it_is_reserved(
    limited: Callable[..., Caller], queue: InlineQueue
) -> None:
    queue.is_held = True
    anna = limited(budget_per_day=Decimal(1))
    edit = {"prompt": "p", "n": 3, "size": "64x64", "image": data_url(picture())}

    estimate = anna.post("/api/v1/images/estimate", json={**edit, "image": ["not read", "either"]})
    accepted = anna.post("/api/images/edit", json=edit, headers=ASYNC)

    assert estimate.json["cost"] == accepted.json["cost"]
    assert estimate.json["cost"]["estimated"] == "0.30"
    assert accepted.headers["X-Quota-Budget-Day-Remaining"] == "0.70"
    alone = anna.post("/api/v1/images/estimate", json={"prompt": "p", "mask": "of nothing"})
    assert (alone.status_code, alone.json["param"]) == (400, "image")


def test_an_edit_of_unknown_price_is_neither_estimated_nor_reserved(
    limited: Callable[..., Caller], catalog: Path
) -> None:
    catalog.write_bytes(orjson.dumps({"builtin": {"placeholder": {"price": None}}}))
    anna = limited(budget_per_day=Decimal(1))
    edit = {"prompt": "p", "image": data_url(picture())}

    cost = anna.post("/api/v1/images/estimate", json=edit).json["cost"]
    refused = anna.post("/api/images/edit", json=edit)

    assert (cost["estimated"], cost["is_known"]) == (None, False)
    assert (refused.status_code, refused.json["code"]) == (400, "price_unknown")


def test_a_job_says_what_it_costs_before_and_after(anna: Caller, queue: InlineQueue) -> None:
    queue.is_held = True
    job = anna.generate(headers=ASYNC, n=2).json
    assert (job["cost"]["estimated"], job["cost"]["actual"]) == ("0.20", None)

    anna.post(f"/api/v1/jobs/{job['id']}/cancel")

    assert anna.get(f"/api/v1/jobs/{job['id']}").json["cost"]["actual"] == "0.00"


def test_what_is_over_a_quota_is_refused_with_words_and_numbers(
    limited: Callable[..., Caller],
) -> None:
    anna = limited(images_per_day=3, images_per_month=100)
    accepted = anna.generate(n=2)
    assert accepted.status_code == 200
    assert accepted.headers["X-Quota-Images-Day-Limit"] == "3"
    assert accepted.headers["X-Quota-Images-Day-Remaining"] == "1"
    assert accepted.headers["X-Quota-Images-Month-Remaining"] == "98"

    refused = anna.generate(n=2)

    assert (refused.status_code, refused.json["code"]) == (429, "quota_exceeded")
    assert "2 of your 3 images of today" in refused.json["detail"]
    assert refused.json["quota"]["remaining"] == "1"
    assert 0 < int(refused.headers["Retry-After"]) <= 24 * 3600
    assert refused.headers["X-Quota-Images-Day-Reset"] == refused.headers["Retry-After"]
    assert anna.generate(n=1).status_code == 200
    [day, month] = anna.get("/api/v1/usage/quota").json["quotas"]
    assert (day["used"], month["used"]) == ("3", "3")


def test_money_is_counted_exactly(limited: Callable[..., Caller]) -> None:
    anna = limited(budget_per_month=Decimal("0.30"))

    answers = [anna.generate() for _ in range(4)]

    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert answers[2].headers["X-Quota-Budget-Month-Remaining"] == "0.00"
    assert answers[3].json["code"] == "budget_exceeded"


def test_with_a_budget_a_model_of_unknown_price_is_refused(
    limited: Callable[..., Caller], catalog: Path
) -> None:
    catalog.write_bytes(orjson.dumps({"builtin": {"placeholder": {"price": None}}}))
    anna = limited(budget_per_day=Decimal(1))

    refused = anna.generate()
    batch = anna.post("/api/v1/batches/", json={"items": [{"prompt": "a"}]})

    assert (refused.status_code, refused.json["code"]) == (400, "price_unknown")
    assert "builtin/placeholder" in refused.json["detail"]
    assert batch.json["errors"][0]["code"] == "price_unknown"
    allowed = limited(budget_per_day=Decimal(1), unknown_prices="allow").generate()
    assert allowed.status_code == 200
    job = anna.get(f"/api/v1/jobs/{allowed.headers['Darkroom-Job']}").json
    assert job["cost"]["estimated"] is None
    assert not job["cost"]["is_known"] or job["cost"]["actual"] is not None


def test_a_batch_is_reserved_as_a_whole(limited: Callable[..., Caller], queue: InlineQueue) -> None:
    queue.is_held = True
    anna = limited(images_per_day=5)
    items = [{"prompt": "a", "n": 2}, {"prompt": "b", "n": 2}]

    first = anna.post("/api/v1/batches/", json={"items": items})
    second = anna.post("/api/v1/batches/", json={"items": items})

    assert (first.status_code, second.status_code) == (201, 429)
    assert first.headers["X-Quota-Images-Day-Remaining"] == "1"
    assert "this asks for 4" in second.json["detail"]
    anna.post(f"{first.json['url']}/cancel")
    assert anna.post("/api/v1/batches/", json={"items": items}).status_code == 201


def test_a_batch_says_what_it_costs_before_and_after(anna: Caller, queue: InlineQueue) -> None:
    queue.is_held = True
    items = [{"prompt": "a", "n": 2}, {"prompt": "b", "size": "64x64"}]
    batch = anna.post("/api/v1/batches/", json={"items": items}).json
    before = {"estimated": "0.50", "actual": None, "currency": "USD", "is_known": True}
    assert batch["cost"] == before

    anna.post(f"{batch['url']}/cancel")

    assert anna.get(batch["url"]).json["cost"] == before | {"actual": "0.00"}


def test_a_batch_of_unknown_price_does_not_say_that_it_is_free(
    anna: Caller, catalog: Path, limited: Callable[..., Caller], queue: InlineQueue
) -> None:
    queue.is_held = True
    catalog.write_bytes(orjson.dumps({"builtin": {"placeholder": {"price": None}}}))

    batch = limited().post("/api/v1/batches/", json={"items": [{"prompt": "a"}]}).json

    assert (batch["cost"]["estimated"], batch["cost"]["is_known"]) == (None, False)


def test_an_admin_sets_what_holds_for_one_user(
    limited: Callable[..., Caller], admin: Caller
) -> None:
    anna = limited(images_per_day=1)

    def allow(quotas: dict[str, Any]) -> Any:
        return admin.patch(f"/api/v1/users/{anna.user.id}", json={"quotas": quotas})

    assert allow({"images_per_day": 2, "budget_per_day": 0.1}).json["quotas"] == {
        "images_per_day": 2,
        "budget_per_day": "0.10",
    }
    assert [anna.generate().status_code for _ in range(2)] == [200, 429]
    allow({"images_per_day": None})
    assert [anna.generate().status_code for _ in range(3)] == [200] * 3
    allow({})
    assert anna.generate().status_code == 429
    assert allow({"budget_per_day": -1}).status_code == 400


def test_openais_dialect_says_insufficient_quota(limited: Callable[..., Caller]) -> None:
    anna = limited(images_per_day=0)

    refused = anna.post("/v1/images/generations", json={"prompt": "p"})

    assert refused.status_code == 429
    assert refused.json["error"]["type"] == refused.json["error"]["code"] == "insufficient_quota"
    assert refused.headers["x-should-retry"] == "false"


def test_everybody_sees_their_own_usage_and_admins_all(
    anna: Caller, admin: Caller, sign_in: Callable[..., Caller]
) -> None:
    anna.generate(n=2)
    sign_in("bo@example.org").generate()

    own = anna.get("/api/v1/usage/?group_by=model").json
    every = admin.get("/api/v1/usage/?group_by=user").json

    assert [(each["model"], each["images"]) for each in own["lines"]] == [("placeholder", 2)]
    assert [(each["email"], each["images"]) for each in every["lines"]] == [
        ("anna@example.org", 2),
        ("bo@example.org", 1),
    ]
    table = admin.get("/api/v1/usage/?format=csv")
    assert table.content_type.startswith("text/csv")
    assert table.text.splitlines()[0].startswith("user_id,email,engine,model,day,jobs")
    assert len(table.text.splitlines()) == 3


def test_usage_outlives_the_pictures(anna: Caller) -> None:
    picture = anna.generate().json[0]
    before = anna.get("/api/v1/usage/").json
    assert before["lines"][0]["bytes"] > 0

    assert anna.delete(f"/api/v1/files/{picture['id']}").status_code < 300

    assert anna.get("/api/v1/usage/").json == before


@pytest.mark.parametrize(
    "query",
    ["group_by=colour", "group_by=day,day", "from=2026-02-30", "from=2026-02-02&to=2026-01-01"],
)
def test_a_report_on_nothing_sensible_is_refused(anna: Caller, query: str) -> None:
    assert anna.get(f"/api/v1/usage/?{query}").status_code == 400
