"""Calls: what is repeated and what is not, and what nobody gets to see."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom import errors
from darkroom.client import Client, Retries
from tests.darkroom.client.scripted import Answer, Scripted, a_job, a_problem, events

LOST = Answer(status=None)
AWAY = a_problem(503, "unavailable", headers={"Retry-After": "0"})
FULL = a_problem(429, "limit_reached", headers={"Retry-After": "0"}, retry_after_s=0)
ACCEPTED = Answer(status=202, content=a_job())
TRANSIENT = pytest.mark.parametrize("failure", [LOST, AWAY, FULL], ids=["lost", "503", "429"])


@TRANSIENT
def test_work_is_asked_for_again_with_the_same_key(
    server: Scripted, client: Client, failure: Answer
) -> None:
    server.will(failure, failure, ACCEPTED)

    job = client.submit("a ship", size="64x64")

    assert job.id == "41d2"
    assert len(server.calls) == 3
    assert len({call.headers["idempotency-key"] for call in server.calls}) == 1
    assert {call.body for call in server.calls} == {server.calls[0].body}


def test_each_piece_of_work_has_a_key_of_its_own(server: Scripted, client: Client) -> None:
    server.will(ACCEPTED)

    client.submit("a ship")
    client.submit("a ship")
    client.submit("a ship", idempotency_key="mine")

    first, second, third = (call.headers["idempotency-key"] for call in server.calls)
    assert first != second
    assert third == "mine"


@TRANSIENT
def test_what_only_reads_is_repeated(server: Scripted, client: Client, failure: Answer) -> None:
    server.will(failure, Answer(content=[a_job()]))

    assert [each.id for each in client.jobs()] == ["41d2"]
    assert len(server.calls) == 2


@TRANSIENT
def test_nothing_else_is_repeated(server: Scripted, client: Client, failure: Answer) -> None:
    server.will(failure, Answer(content=a_job()))

    with pytest.raises((errors.Unavailable, errors.LimitReached)):
        client.cancel("41d2")

    assert len(server.calls) == 1


def test_repeats_come_to_an_end(server: Scripted, client: Client) -> None:
    server.will(LOST)

    with pytest.raises(errors.Unavailable, match="Nobody answers"):
        client.submit("a ship")

    assert len(server.calls) == 4


def test_a_server_that_wants_a_long_pause_is_left_alone(server: Scripted, client: Client) -> None:
    server.will(a_problem(429, "limit_reached", headers={"Retry-After": "600"}))

    with pytest.raises(errors.LimitReached) as caught:
        client.submit("a ship")

    assert caught.value.retry_after_s == 600
    assert len(server.calls) == 1


def test_a_refusal_is_final(server: Scripted, client: Client) -> None:
    server.will(a_problem(400, "request_invalid", param="size"), ACCEPTED)

    with pytest.raises(errors.InvalidRequest):
        client.submit("a ship", size="big")

    assert len(server.calls) == 1


def test_a_batch_is_sent_whole_again(server: Scripted, client: Client) -> None:
    batch = {"id": "b1", "status": "queued", "counts": {"total": 2}}
    server.will(LOST, Answer(status=201, content=batch))

    items: list[str | dict[str, str]] = ["a ship", {"prompt": "a boat"}]
    client.batches.create(iter(items), defaults={"size": "64x64"})

    first, second = server.calls
    assert [json.loads(line)["prompt"] for line in second.body.splitlines()] == ["a ship", "a boat"]
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert second.headers["content-type"] == "application/x-ndjson"
    assert json.loads(second.query["defaults"][0]) == {"size": "64x64"}


def test_a_broken_download_starts_again_and_leaves_nothing_behind(
    server: Scripted, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    server.will(Answer(content=b"half of it", cut=True), Answer(content=b"all of it"))

    path = client.files.download("6f0c", folder / "a.png")

    assert path.read_bytes() == b"all of it"
    assert list(folder.iterdir()) == [path]


def test_a_download_that_fails_for_good_leaves_nothing_behind(
    server: Scripted, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    server.will(Answer(content=b"half of it", cut=True))

    with pytest.raises(errors.Unavailable):
        client.files.download("6f0c", folder / "a.png")

    assert list(folder.iterdir()) == []


def test_nobody_at_the_address_is_unavailable() -> None:
    with (
        Client("127.0.0.1:1", "dk_x", retries=Retries(times=0)) as client,
        pytest.raises(errors.Unavailable, match="Nobody answers at"),
    ):
        client.jobs()


def test_a_redirect_is_not_followed(server: Scripted, client: Client) -> None:
    server.will(Answer(status=302, headers={"Location": "https://elsewhere.example"}))

    with pytest.raises(errors.Unavailable, match=r"elsewhere\.example"):
        client.submit("a ship")


@pytest.mark.parametrize("content", [b"<html>", {"no": "job"}, "text"])
def test_what_is_no_darkroom_is_told_as_that(
    server: Scripted, client: Client, content: object
) -> None:
    server.will(Answer(content=content))

    with pytest.raises(errors.Unavailable, match="is it a Darkroom"):
        client.job("41d2")


def test_no_proxy_is_used_on_the_way_to_this_machine(
    server: Scripted, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert client.jobs() == []


def test_the_key_signs_in_whatever_netrc_says(
    server: Scripted, client: Client, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else\n")

    client.jobs()

    assert server.calls[0].headers["authorization"] == "Bearer dk_secret"


def test_the_key_is_shown_nowhere(
    server: Scripted, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.will(a_problem(401, "not_signed_in"))

    with pytest.raises(errors.NotSignedIn) as caught:
        client.jobs()

    assert "dk_secret" not in f"{client!r} {vars(client)!r} {caught.value} {caplog.text}"


def test_following_goes_on_after_a_broken_connection(server: Scripted, client: Client) -> None:
    running = a_job(status="running", revision=2, progress=0.5)
    done = a_job(status="succeeded", revision=3, progress=1.0)
    server.will(Answer(content=a_job()), events(running), events(done))

    seen = list(client.follow("41d2"))

    assert [(each.status, each.progress) for each in seen] == [("running", 0.5), ("succeeded", 1.0)]
    assert server.calls[-1].headers["last-event-id"] == "2"


def test_a_server_without_a_place_for_a_stream_is_polled(server: Scripted, client: Client) -> None:
    server.will(
        ACCEPTED,
        a_problem(503, "unavailable", headers={"Retry-After": "5"}),
        Answer(content=a_job(status="succeeded", revision=3)),
    )

    assert client.generate("a ship").status == "succeeded"


def test_results_are_told_once_however_often_the_stream_breaks(
    server: Scripted, client: Client
) -> None:
    def results(*names: str, cut: bool = False) -> Answer:
        lines = [
            json.dumps({"custom_id": each, "line": 1, "status": "succeeded"}) for each in names
        ]
        return Answer(content="".join(f"{each}\n\n" for each in lines).encode(), cut=cut)

    def batch(status: str) -> Answer:
        return Answer(content={"id": "b1", "status": status, "counts": {"total": 3}})

    server.will(
        results("a", "b", cut=True),
        results("a", "b"),
        batch("running"),
        results("a", "b", "c"),
        batch("finished"),
    )

    assert [each.custom_id for each in client.batches.follow("b1")] == ["a", "b", "c"]
    assert len(server.calls) == 5


def test_a_failed_job_is_its_error(server: Scripted, client: Client) -> None:
    error = {"code": "content_refused", "detail": "It was refused.", "upstream_code": "moderation"}
    server.will(ACCEPTED, events(a_job(status="failed", revision=3, error=error)))

    with pytest.raises(errors.ContentRefused) as caught:
        client.generate("a ship")

    assert caught.value.detail == "It was refused."
    assert caught.value.upstream_code == "moderation"
    assert caught.value.problem["job"] == "41d2"


def test_a_canceled_job_is_canceled(server: Scripted, client: Client) -> None:
    server.will(ACCEPTED, events(a_job(status="canceled", revision=3)))

    with pytest.raises(errors.Canceled):
        client.generate("a ship")


def test_importing_the_client_is_cheap() -> None:
    heavy = {"flask", "sqlalchemy", "celery", "marshmallow", "PIL", "rich", "redis", "structlog"}

    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, darkroom.client; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert not heavy & set(loaded)
    assert not {each for each in loaded if each.split(".")[0] in {"api", "worker", "storage"}}
