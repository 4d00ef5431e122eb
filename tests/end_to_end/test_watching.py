"""What operators see of a Darkroom whose API and workers are processes of their own."""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, update

from storage.tables import jobs
from tests.backends.ports import free_port
from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster, Part
from tests.end_to_end.collectors import Collected, Collector, Sentry
from tests.engines.servers.openai import OpenAIServer

TOKEN = "a token for prometheus only"
PROMPT = "a lighthouse nobody may read of"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with Collector() as collector:
        yield collector


def lines_of(part: Part) -> list[dict[str, Any]]:
    """What a part logged."""
    return [json.loads(each) for each in part.output.splitlines() if each.startswith("{")]


def metrics(url: str, token: str = TOKEN) -> dict[tuple[str, ...], float]:
    """Name and label values, in the order of the labels' names, to value."""
    answer = requests.get(
        f"{url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=10
    )
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.mark.timeout(180)
def test_a_job_is_followed_by_its_ids_from_request_to_engine_call(
    tmp_path: Path, collector: Collector
) -> None:
    with (
        OpenAIServer() as openai,
        Cluster(
            tmp_path,
            log_level="info",
            log_format="json",
            metrics_token=TOKEN,
            otlp_endpoint=collector.origin,
            image_generation_engine="openai",
            images_openai_api_base_url=openai.url,
            images_openai_api_key=openai.key,
            no_proxy="127.0.0.1",
        ) as cluster,
    ):
        (worker,) = cluster.workers
        answer = cluster.generate(
            {"X-Request-ID": "the-request-of-the-test"},
            model="openai/gpt-image-1.5",
            size="1024x1024",
            prompt=PROMPT,
        )
        assert answer.status_code == 200, answer.text
        job_id = answer.headers["Darkroom-Job"]
        user_id = cluster.storage.jobs.get(job_id).owner_id

        # Log lines: one of the request, and the job's in the worker, the engine's call among them.
        ids = {"request_id": "the-request-of-the-test", "job_id": job_id, "user_id": user_id}
        (access,) = [
            each
            for each in lines_of(cluster.api)
            if each.get("status") == 200 and each["event"] == "request"
        ]
        assert access.items() >= (ids | {"method": "POST"}).items()
        told = until(lambda: _told_of(worker, job_id), "the worker told of the job's end")
        assert told.keys() >= {"job started", "engine call"}
        for each in told.values():
            assert each.items() >= (ids | {"attempt": 1, "engine": "openai"}).items()
            assert each["worker"].split(":")[1] == str(worker.pid)
        assert told["engine call"].items() >= {"status": 200, "method": "POST"}.items()
        assert PROMPT not in worker.output + cluster.api.output

        # Spans: one trace, from the request over the queue to the engine's call and the wake-up.
        spans = until(lambda: _trace_of(collector, job_id), "the whole trace arrived")
        assert spans["POST /api/images/generations"].attributes["darkroom.request_id"] == (
            "the-request-of-the-test"
        )
        assert _path(spans, "POST openai") == [
            "POST /api/images/generations",
            "submit",
            "attempt",
            "draw",
            "POST openai",
        ]
        assert _path(spans, "wait in queue")[-2:] == ["submit", "wait in queue"]
        assert _path(spans, "wake up")[-2:] == ["attempt", "wake up"]
        assert _path(spans, "store")[-2:] == ["attempt", "store"]
        assert _path(spans, "wait") == ["POST /api/images/generations", "wait"]
        assert {each.service for each in spans.values()} == {"darkroom-api", "darkroom-worker"}

        # Metrics: of both processes, in one place.
        read = metrics(cluster.url)
        route = "/api/images/generations"
        assert read["darkroom_http_requests_total", "POST", route, "200"] == 1
        assert read["darkroom_jobs_accepted_total", "openai", "interactive"] == 1
        assert read["darkroom_jobs_sent_total", "openai", "interactive"] == 1
        assert read["darkroom_job_wait_seconds_count", "openai", "interactive"] == 1
        assert read["darkroom_attempts_total", "openai", "succeeded"] == 1
        assert read["darkroom_jobs_ended_total", "openai", "succeeded"] == 1
        assert read["darkroom_engine_call_seconds_count", "openai", "POST", "2xx", ""] == 1
        assert read["darkroom_engine_seconds_count", "openai", "drawn", ""] == 1
        assert read["darkroom_images_stored_total", "openai"] == 1
        assert read["darkroom_image_bytes_stored_total", "openai"] > 0
        assert read["darkroom_waiting_calls",] == 0


def _told_of(worker: Part, job_id: str) -> dict[str, dict[str, Any]] | None:
    """What a worker logged of a job, by event, once it logged the end: after the caller heard."""
    told = {each["event"]: each for each in lines_of(worker) if each.get("job_id") == job_id}
    return told if "job ended" in told else None


def _trace_of(collector: Collector, job_id: str) -> dict[str, Collected] | None:
    """The spans of the trace with this job by name, once the request and the attempt are in."""
    spans = collector.spans()
    traces = {each.trace_id for each in spans if each.attributes.get("darkroom.job_id") == job_id}
    assert len(traces) <= 1
    found = {each.name: each for each in spans if each.trace_id in traces}
    return found if found.keys() >= {"POST /api/images/generations", "attempt", "wait"} else None


def _path(spans: dict[str, Collected], name: str) -> list[str]:
    """The names from the trace's first span down to this one."""
    by_id = {each.id: each for each in spans.values()}
    path, span = [name], spans[name]
    while span.parent_id:
        span = by_id[span.parent_id]
        path.insert(0, span.name)
    return path


def test_several_api_processes_count_together(tmp_path: Path) -> None:
    calls = 6
    with (
        Cluster(tmp_path, api_processes=2, builtin_script=True, metrics_token=TOKEN) as cluster,
        ThreadPoolExecutor(calls) as callers,
    ):
        answers = [
            callers.submit(cluster.generate, prompt="a ship [latency=3]") for _ in range(calls)
        ]
        until(lambda: metrics(cluster.url)["darkroom_waiting_calls",] == calls, "all wait")

        assert {each.result().status_code for each in answers} == {200}
        read = metrics(cluster.url)

        route = "/api/images/generations"
        assert read["darkroom_waiting_calls",] == 0
        assert read["darkroom_http_requests_total", "POST", route, "200"] == calls
        assert read["darkroom_jobs_ended_total", "builtin", "succeeded"] == calls


def test_a_worker_alone_shows_its_metrics_on_a_port_of_its_own(tmp_path: Path) -> None:
    port = free_port()
    with Cluster(tmp_path, workers=2, metrics_port=port, metrics_token=TOKEN) as cluster:
        url = f"http://127.0.0.1:{port}"
        cluster.finished(cluster.submit())
        drawn = ("darkroom_jobs_ended_total", "builtin", "succeeded")
        assert metrics(url)[drawn] == 1
        assert requests.get(f"{url}/metrics", timeout=10).status_code == 401

        # Whichever worker has the port: when it dies, the other takes it, and nothing is forgotten.
        for worker in cluster.workers:
            worker.kill()
            worker.start()
            until(lambda: _answers(url), "a worker shows metrics")
            assert metrics(url)[drawn] == 1
            assert metrics(cluster.url)[drawn] == 1


def _answers(url: str) -> bool:
    try:
        return bool(metrics(url))
    except requests.ConnectionError:
        return False


def test_metrics_say_which_part_is_away(tmp_path: Path) -> None:
    with Cluster(tmp_path, metrics_token=TOKEN) as cluster:
        assert metrics(cluster.url)["darkroom_part_up", "broker"] == 1
        cluster.broker.kill()

        read = metrics(cluster.url)

        assert read["darkroom_part_up", "broker"] == 0
        assert read["darkroom_part_up", "database"] == 1
        assert read["darkroom_outages_total", "broker"] >= 1
        assert not any(name.startswith("darkroom_workers") for name, *_ in read)


@pytest.mark.timeout(180)
def test_exceptions_nobody_expected_reach_sentry_without_prompts(tmp_path: Path) -> None:
    with (
        Sentry() as sentry,
        Cluster(tmp_path, sentry_dsn=sentry.dsn, no_proxy="127.0.0.1") as cluster,
    ):
        (worker,) = cluster.workers
        worker.terminate()
        worker.exit_code()
        job_id = cluster.submit(prompt=PROMPT)
        with cluster.storage.database.writing() as connection:
            request = connection.execute(
                select(jobs.c.request).where(jobs.c.id == job_id)
            ).scalar_one()
            del request["operation"]
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(request=request))

        broken = cluster.call("GET", f"/api/v1/jobs/{job_id}", headers={"X-Request-ID": "broken"})
        assert broken.status_code == 500
        worker.start()
        until(lambda: len({each["tags"]["part"] for each in sentry.events()}) == 2, "both tell")

        by_part = {each["tags"]["part"]: each for each in sentry.events()}
        assert by_part["api"]["tags"]["request_id"] == "broken"
        assert by_part["worker"]["tags"]["job_id"] == job_id
        for event in by_part.values():
            assert event["release"].startswith("darkroom@")
            assert event["exception"]["values"][-1]["stacktrace"]["frames"]
        assert PROMPT not in sentry.said()
        assert cluster.key not in sentry.said()


@pytest.mark.timeout(180)
def test_flower_sees_workers_and_tasks(tmp_path: Path) -> None:
    port = free_port()
    with Cluster(tmp_path, workers=2, task_events=True) as cluster:
        flower = cluster.part(
            "flower",
            # As the how-to page has it.
            [sys.executable, "-P", "-m", "celery", "-A", "worker", "flower", f"--port={port}"],
            lambda _: _flower(port, "workers") is not None,
            FLOWER_UNAUTHENTICATED_API="true",
        )
        with flower:
            until(lambda: len(_flower(port, "workers?refresh=1") or {}) == 2, "two workers")
            job_id = cluster.submit()
            cluster.finished(job_id)

            task = until(
                lambda: next(
                    (each for each in (_flower(port, "tasks") or {}).values() if each["succeeded"]),
                    None,
                ),
                "the task is seen",
            )
            queues = _flower(port, "queues/length")

        assert task["name"] == "darkroom.run_job"
        assert job_id in task["args"]
        assert task["sent"] is not None
        assert {"name": "engine.builtin", "messages": 0} in queues["active_queues"]


def _flower(port: int, what: str) -> Any:
    try:
        answer = requests.get(f"http://127.0.0.1:{port}/api/{what}", timeout=30)
    except requests.ConnectionError:
        return None
    return answer.json() if answer.ok else None
