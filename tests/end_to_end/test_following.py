"""A job that is followed over HTTP: events, previews, deadlines and a second try."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.end_to_end.caller import until
from tests.end_to_end.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("following")
    with Service(folder, builtin_script=True, lease_s=3) as service:
        yield service


def events(service: Service, job_id: str) -> Iterator[dict[str, Any]]:
    """The snapshots of a job until its stream ends, each with its event id."""
    answer = service.call(
        "GET", f"/api/v1/jobs/{job_id}/events", stream=True, headers={"Accept": "text/event-stream"}
    )
    with answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        event_id = ""
        for line in answer.iter_lines(decode_unicode=True):
            if line.startswith("id: "):
                event_id = line.removeprefix("id: ")
            elif line.startswith("data: "):
                yield {**json.loads(line.removeprefix("data: ")), "event_id": int(event_id)}


@pytest.mark.timeout(120)
def test_a_follower_sees_every_step_in_order_and_the_end(service: Service) -> None:
    seen = list(events(service, service.submit(prompt="a ship [latency=2]")))

    assert seen[-1]["status"] == "succeeded"
    assert len(seen[-1]["images"]) == 1
    ids = [each["event_id"] for each in seen]
    assert ids == sorted(set(ids))
    shares = [each["progress"] for each in seen if each["attempt"] == 1]
    assert shares == sorted(shares)
    assert any(0 < share < 1 for share in shares)


@pytest.mark.timeout(120)
def test_a_slow_picture_is_shown_while_it_is_drawn(service: Service) -> None:
    job_id = service.submit(prompt="a ship [latency=3]", size="256x256")

    shown = next(each for each in events(service, job_id) if each["preview_url"])
    preview = service.call("GET", shown["preview_url"])

    assert Image.open(io.BytesIO(preview.content)).size == (64, 64)
    assert service.finished(job_id)["preview_url"] is None
    until(
        lambda: service.call("GET", shown["preview_url"]).status_code == 404,
        "the preview is gone with the job's end",
    )


@pytest.mark.timeout(120)
def test_a_running_job_that_is_canceled_stops_and_may_be_tried_again(service: Service) -> None:
    job_id = service.submit(prompt="a ship [latency=60]")
    until(lambda: service.job(job_id)["status"] == "running", "it runs")

    answer = service.call("POST", f"/api/v1/jobs/{job_id}/cancel")

    assert answer.json()["status"] in {"canceling", "canceled"}
    assert service.finished(job_id)["status"] == "canceled"
    retried = service.call("POST", f"/api/v1/jobs/{job_id}/retry")
    assert retried.status_code == 202
    assert retried.json()["retry_of"] == job_id
    service.call("POST", f"/api/v1/jobs/{retried.json()['id']}/cancel")


@pytest.mark.timeout(120)
def test_a_job_nobody_wants_any_more_ends_at_its_deadline(service: Service) -> None:
    answer = service.generate(prompt="a ship [latency=60]", deadline_s=1)

    assert answer.status_code == 400
    assert answer.json()["code"] == "deadline_exceeded"


@pytest.mark.timeout(120)
def test_those_who_follow_are_let_go_when_all_stops(tmp_path: Path) -> None:
    with Service(tmp_path, builtin_script=True, stop_s=1) as service:
        job_id = service.submit(prompt="a ship [latency=60]")
        followed = events(service, job_id)
        assert next(followed)["id"] == job_id

        assert service.stop() == 0

        assert [each["status"] for each in followed if each["status"] == "succeeded"] == []
